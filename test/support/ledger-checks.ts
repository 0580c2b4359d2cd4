import assert from 'node:assert/strict';
import type { Database } from '../../prisma/client.ts';
import { balances } from './seeded.ts';

/** Whatever was done: the books are right, and the counters follow from the requests. */
export async function checkLedger(database: Database): Promise<void> {
  const now = await balances(database);
  assert.equal(
    Object.values(now).reduce((sum, each) => sum + each, 0n),
    0n,
    'nothing is made or lost',
  );
  for (const [id, balance] of Object.entries(now))
    assert.ok(balance >= 0n || id === 'funding', `${id} is overdrawn`);
  const wrong = await database.$queryRaw<object[]>`
      WITH held AS (
        SELECT account_id, sum(reserved_wei) FILTER (WHERE finished_at IS NULL) AS open,
               sum(charged_wei - refunded_wei) AS spent FROM request GROUP BY account_id),
      given AS (
        SELECT credit_id, sum(amount_wei) AS deposited FROM ledger_transfer
        WHERE purpose = 'deposit' GROUP BY credit_id)
      SELECT available.id, available.balance_wei::text AS available,
             reserved.balance_wei::text AS reserved, open::text, spent::text, deposited::text
      FROM account JOIN ledger_account AS available ON available.id = account.id || ':available'
        JOIN ledger_account AS reserved ON reserved.id = account.id || ':reserved'
        LEFT JOIN held ON account_id = account.id LEFT JOIN given ON credit_id = available.id
      WHERE reserved.balance_wei <> coalesce(open, 0)
         OR available.balance_wei
            <> coalesce(deposited, 0) - coalesce(open, 0) - coalesce(spent, 0)`;
  assert.deepEqual(wrong, [], 'balances follow from requests and deposits');
  const orphans = await database.$queryRaw<object[]>`
      SELECT key FROM ledger_transfer LEFT JOIN request ON request.id = split_part(key, ':', 1)
      WHERE purpose = 'reserve' AND request.id IS NULL
      UNION ALL
      SELECT id FROM request LEFT JOIN ledger_transfer ON key = id || ':reserve'
      WHERE reserved_wei > 0 AND key IS NULL`;
  assert.deepEqual(orphans, [], 'each reservation has a request, and each request has one');
  await checkKeys(database);
}

async function checkKeys(database: Database): Promise<void> {
  const wrong = await database.$queryRaw<object[]>`
      SELECT api_key.id, in_flight, open, api_key.reserved_wei::text, reserved::text,
             spent_wei::text, spent::text
      FROM api_key LEFT JOIN (
        SELECT key_id, count(*) FILTER (WHERE finished_at IS NULL) AS open,
               sum(reserved_wei) FILTER (WHERE finished_at IS NULL) AS reserved,
               sum(charged_wei - refunded_wei) AS spent FROM request GROUP BY key_id)
        AS used ON key_id = api_key.id
      WHERE in_flight <> coalesce(open, 0) OR api_key.reserved_wei <> coalesce(reserved, 0)
         OR spent_wei <> coalesce(spent, 0)
         OR spent_wei + api_key.reserved_wei > budget_wei OR in_flight > concurrency`;
  assert.deepEqual(wrong, [], 'counters of keys follow from their requests');
}
