import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import type { Prisma } from '../../prisma/generated/client.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { ACCOUNT, API_KEY, balances } from '../support/seeded.ts';

const PARALLEL = 200;
const ADMITTED = 10;
const BODY = {
  model: 'instant',
  messages: [{ role: 'user', content: 'alpha beta gamma' }],
  max_tokens: 16,
  // Nobody can serve it: what was admitted stays reserved until it is cancelled.
  deadline_seconds: 600,
};

/** Real gateways and coordinators, two of each, and no node. */
describe('gateway/overspend: many at once, by two gateways', function () {
  this.timeout(180_000);
  let network: Coordination;
  let gateways: readonly string[];
  before(async () => {
    network = await startCoordination(2);
    gateways = network.gatewayUrls;
  });
  after(() => network.stop());

  async function submit(gateway: number, key: string) {
    const response = await fetch(`${gateways[gateway % 2]}/v1/requests`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify(BODY),
    });
    const body = (await response.json()) as { id?: string; error?: { code: string } };
    return { status: response.status, id: body.id ?? '', code: body.error?.code };
  }

  async function cancel(id: string, key: string): Promise<void> {
    const response = await fetch(`${gateways[0]}/v1/requests/${id}/cancel`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}` },
    });
    await response.body?.cancel();
    await network.ended(id);
  }

  /** What one request reserves. */
  async function price(): Promise<bigint> {
    const { id } = await submit(0, API_KEY);
    const { reservedWei } = await network.database.request.findUniqueOrThrow({ where: { id } });
    await cancel(id, API_KEY);
    return BigInt(reservedWei.toFixed());
  }

  const reserved = async (account = ACCOUNT) =>
    (await balances(network.database))[`${account}:reserved`];

  /** Exactly so many are admitted, all others get that status and code, and leave nothing. */
  async function burst(key: string, account: string, status: number, code: string) {
    const one = await price();
    const before = await balances(network.database);
    const answers = await Promise.all(
      Array.from({ length: PARALLEL }, (_, index) => submit(index, key)),
    );
    const admitted = answers.filter((answer) => answer.status === 202);
    assert.equal(admitted.length, ADMITTED);
    const others = answers.filter((answer) => answer.status !== 202);
    assert.deepEqual(
      [...new Set(others.map((answer) => `${answer.status} ${answer.code}`))],
      [`${status} ${code}`],
    );
    assert.equal(await reserved(account), BigInt(ADMITTED) * one);
    const open = await network.database.request.count({ where: { finishedAt: null } });
    assert.equal(open, ADMITTED);
    for (const { id } of admitted) await cancel(id, key);
    assert.deepEqual(await balances(network.database), before);
    // What was given back can be used again.
    const again = await submit(1, key);
    assert.equal(again.status, 202);
    await cancel(again.id, key);
  }

  async function addKey(limits: Partial<Prisma.ApiKeyUncheckedCreateInput>) {
    const key = `plx-test-${randomUUID()}`;
    const keyHash = createHash('sha256').update(key).digest('hex');
    const data = { keyHash, accountId: ACCOUNT, ...limits };
    const { id } = await network.database.apiKey.create({ data });
    return { key, id };
  }

  async function assertUnused(id: string): Promise<void> {
    const { inFlight, reservedWei, spentWei } = await network.database.apiKey.findUniqueOrThrow({
      where: { id },
    });
    assert.deepEqual([inFlight, reservedWei.toFixed(), spentWei.toFixed()], [0, '0', '0']);
  }

  it('admits exactly ten of 200 on credit for ten', async () => {
    const account = 'acct_ten';
    const one = await price();
    await network.database.account.create({ data: { id: account, name: 'Ten' } });
    const { key, id } = await addKey({ accountId: account });
    await network.database.$executeRaw`
      INSERT INTO ledger_account (id) VALUES ('acct_ten:available'), ('acct_ten:reserved')`;
    await network.database.$executeRaw`
      INSERT INTO ledger_transfer (key, purpose, debit_id, credit_id, amount_wei)
      VALUES ('ten:deposit', 'deposit', 'funding', 'acct_ten:available',
              ${String(one * BigInt(ADMITTED) + one - 1n)}::numeric)`;
    await burst(key, account, 402, 'receive.insufficient_credit');
    await assertUnused(id);
  });

  it('admits exactly ten of 200 by a key that may have ten in flight', async () => {
    const { key, id } = await addKey({ concurrency: ADMITTED });
    await burst(key, ACCOUNT, 429, 'receive.rate_limited');
    await assertUnused(id);
  });

  it('admits exactly ten of 200 by a key with a budget for ten', async () => {
    const one = await price();
    const { key, id } = await addKey({ budgetWei: String(one * BigInt(ADMITTED)) });
    await burst(key, ACCOUNT, 402, 'receive.budget_exhausted');
    await assertUnused(id);
  });
});
