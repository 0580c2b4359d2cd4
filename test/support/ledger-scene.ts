import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import pino from 'pino';
import { abandon, receive } from '../../activities/receive.ts';
import { settle } from '../../activities/settle.ts';
import { refund } from '../../intake/refunds.ts';
import { inTransaction, openDatabase, type Database } from '../../prisma/client.ts';
import { creditAccount } from '../../prisma/credits.ts';
import { openLedgerAccounts } from '../../prisma/ledger.ts';
import type { FinalState } from '../../protocol/lifecycle.ts';
import type { AcceptedInference, IntakeCall } from '../../protocol/receive.ts';
import { checkLedger } from './ledger-checks.ts';
import { addPoolNode } from './pool.ts';
import { balances, intakeCall, receiveKeys, seedInstant } from './seeded.ts';
import { freshDatabase, type TestDatabase } from './servers.ts';

const ACCOUNTS = ['acct_one', 'acct_two'] as const;
/** Two of the first account, one of the second. Their limits are low enough to matter. */
const KEYS = [
  { id: 'key_a', accountId: ACCOUNTS[0], concurrency: 4, requestsPerMinute: 12 },
  { id: 'key_b', accountId: ACCOUNTS[0], budgetWei: '2000000000000000' },
  { id: 'key_c', accountId: ACCOUNTS[1], tokensPerMinute: 6_000 },
] as const;
const DEPOSIT_WEI = 200_000_000_000_000n;
const log = pino({ level: 'silent' });

/** How an operation ends that shouldn't come about as a whole. */
export type Crash = 'rolled back' | null;

/** One thing that is done to the ledger; numbers choose among what there is. */
export type Operation =
  | { readonly do: 'receive'; readonly key: number; readonly call: number; readonly crash: Crash }
  | {
      readonly do: 'settle';
      readonly request: number;
      readonly state: FinalState;
      readonly tokens: number;
      readonly crash: Crash;
    }
  | { readonly do: 'abandon'; readonly request: number }
  | { readonly do: 'refund' }
  | { readonly do: 'deposit'; readonly account: number; readonly reference: number };

class RolledBackError extends Error {}

/** Accounts, keys and requests over a PostgreSQL whose connections are cut now and then. */
export class LedgerScene {
  readonly #db: TestDatabase;
  /** Its connections may be killed; those of `#db` are left alone. */
  readonly #mortal: Database;
  readonly #killer: Client;
  readonly #calls: readonly IntakeCall[];
  #accepted: AcceptedInference[] = [];
  #run = '';
  killed = 0;

  private constructor(db: TestDatabase, killer: Client, calls: readonly IntakeCall[]) {
    this.#db = db;
    this.#killer = killer;
    this.#calls = calls;
    const mortalUrl = new URL(db.url);
    mortalUrl.searchParams.set('application_name', 'mortal');
    this.#mortal = openDatabase(mortalUrl.href, 6);
  }

  static async start(): Promise<LedgerScene> {
    const db = await freshDatabase();
    const { database } = db;
    await seedInstant(database);
    for (const id of ACCOUNTS) {
      await database.account.create({ data: { id, name: id } });
      await inTransaction(database, (transaction) => openLedgerAccounts(transaction, id));
    }
    for (const key of KEYS) await database.apiKey.create({ data: { keyHash: key.id, ...key } });
    // Its work is given back, and it may get more of it at any time.
    const nodeId = await addPoolNode(database, {
      id: NODE,
      status: 'removed',
      refundSince: new Date(0),
    });
    await database.nodeReview.create({
      data: {
        nodeId,
        decision: 'removed',
        code: 'node.removed_wrong_results',
        createdAt: new Date(Date.now() + 3_600_000),
      },
    });
    const killer = new Client({ connectionString: db.url });
    await killer.connect();
    const calls: IntakeCall[] = [];
    for (let index = 0; index < 8; index++)
      calls.push(await intakeCall({ maxTokens: 20 * index + 1 }));
    return new LedgerScene(db, killer, calls);
  }

  async stop(): Promise<void> {
    await this.#killer.end();
    await this.#mortal.$disconnect();
    await this.#db.close();
  }

  /** Nothing is open, a minute is over, and intake keys and references are other than before. */
  async begin(): Promise<void> {
    await this.endAll();
    await this.#db.database.$executeRaw`
      UPDATE api_key SET window_began_at = window_began_at - interval '1 minute'`;
    this.#run = randomUUID();
    this.#accepted = [];
  }

  /** @throws only what shouldn't happen: refusals and cut connections are part of it. */
  async perform(operation: Operation): Promise<void> {
    try {
      await this.#perform(operation);
    } catch (error) {
      if (error instanceof RolledBackError) return;
      const text = String(error);
      if (/receive\.|CodedError/.test(text)) return;
      if (/terminat|Connection|closed|aborted|Transaction API error/i.test(text)) return;
      throw error;
    }
  }

  async #perform(operation: Operation): Promise<unknown> {
    switch (operation.do) {
      case 'receive':
        return this.#receive(operation);
      case 'settle':
        return this.#settle(operation);
      case 'abandon':
        return this.#with(operation.request, ({ requestId }) => abandon(this.#mortal, requestId));
      case 'refund':
        return this.#refund();
      default:
        return inTransaction(this.#mortal, (transaction) =>
          creditAccount(
            transaction,
            ACCOUNTS[operation.account % ACCOUNTS.length] ?? ACCOUNTS[0],
            DEPOSIT_WEI,
            `${this.#run}-${operation.account}-${operation.reference}`,
          ),
        );
    }
  }

  async #receive(operation: Extract<Operation, { do: 'receive' }>): Promise<void> {
    const key = KEYS[operation.key % KEYS.length] ?? KEYS[0];
    const call = this.#calls[operation.call % this.#calls.length] ?? assert.fail();
    const asked: IntakeCall = {
      ...call,
      intakeKey: `${this.#run}-${key.id}-${operation.call}`,
      accountId: key.accountId,
      keyId: key.id,
    };
    await this.#crashing(operation.crash, async (database) => {
      const { accepted } = await receive(database, receiveKeys, asked);
      if (operation.crash !== null) return;
      this.#accepted.push(accepted);
      const { requestId: unitId } = accepted;
      // Half of it was served by the node that was removed, and nobody has checked it.
      if (operation.call % 2 === 0)
        await this.#db.database.$executeRaw`
          WITH served AS (
            INSERT INTO dispatch (unit_id, dispatch, node_id, coordinator, outcome)
            VALUES (${unitId}, 1, ${NODE}, 'http://c', 'accepted') ON CONFLICT DO NOTHING)
          INSERT INTO proof (unit_id, dispatch, node_id, poe)
          VALUES (${unitId}, 1, ${NODE}, 'poe') ON CONFLICT DO NOTHING`;
    });
  }

  async #refund(): Promise<void> {
    // What is done with is done with; but the node goes on serving here.
    await this.#db.database.node.update({
      where: { id: NODE },
      data: { refundSince: new Date(0) },
    });
    await refund({ database: this.#mortal, log });
  }

  #settle({ request, state, tokens, crash }: Extract<Operation, { do: 'settle' }>) {
    return this.#with(request, ({ requestId, accountId, price, reservedWei }) =>
      this.#crashing(crash, (database) =>
        settle(database, {
          requestId,
          accountId,
          state,
          code: state === 'failed' ? 'schedule.deadline_elapsed' : null,
          usage: { promptTokens: tokens, completionTokens: tokens },
          price,
          reservedWei,
          timeline: [],
        }),
      ),
    );
  }

  async #with(index: number, work: (accepted: AcceptedInference) => Promise<unknown>) {
    const accepted = this.#accepted[index % Math.max(1, this.#accepted.length)];
    if (accepted) await work(accepted);
  }

  /** Does it, or does it in a transaction that is rolled back. */
  async #crashing(crash: Crash, work: (database: Database) => Promise<unknown>) {
    if (crash === null) return work(this.#mortal);
    return inTransaction(this.#mortal, async (transaction) => {
      // What opens a transaction of its own takes part in this one.
      const nested = {
        $queryRaw: transaction.$queryRaw.bind(transaction),
        $executeRaw: transaction.$executeRaw.bind(transaction),
        $transaction: (inner: (transaction: unknown) => unknown) => inner(transaction),
      } as unknown as Database;
      await work(nested);
      throw new RolledBackError();
    });
  }

  /** Cuts connections in the middle of whatever they do, until told to stop. */
  async killWhile(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(3 + Math.random() * 20);
      const { rowCount } = await this.#killer.query(`
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'mortal'
          AND (state = 'active' OR state LIKE 'idle in transaction%')
        ORDER BY random() LIMIT 1`);
      this.killed += rowCount ?? 0;
    }
  }

  /** Whatever was done: the books are right, and the counters follow from the requests. */
  async check(): Promise<void> {
    await checkLedger(this.#db.database);
  }

  /** How often the server had to break a deadlock. */
  async deadlocks(): Promise<number> {
    const [row] = await this.#db.database.$queryRaw<{ deadlocks: number }[]>`
      SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()`;
    return row?.deadlocks ?? -1;
  }

  /** How many requests there are of each status, and how many were refunded. */
  async tally(): Promise<Readonly<Record<string, number>>> {
    const rows = await this.#db.database.$queryRaw<{ name: string; count: number }[]>`
      SELECT status AS name, count(*)::int FROM request GROUP BY status
      UNION ALL SELECT 'refunded', count(*)::int FROM request WHERE refund_code IS NOT NULL`;
    return Object.fromEntries(rows.map(({ name, count }) => [name, count]));
  }

  /** Ends what is open, as coordinators would; then nothing is reserved or in flight. */
  async endAll(): Promise<void> {
    const { database } = this.#db;
    const open = await database.request.findMany({ where: { finishedAt: null } });
    for (const { id } of open) await abandon(database, id as AcceptedInference['requestId']);
    await this.check();
    const now = await balances(database);
    for (const id of ACCOUNTS) assert.equal(now[`${id}:reserved`], 0n);
  }
}

const NODE = `nd_${'7'.repeat(64)}`;
