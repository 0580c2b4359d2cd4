import { PrismaPg } from '@prisma/adapter-pg';
import { Pool } from 'pg';
import { Prisma, PrismaClient } from './generated/client.ts';

export type Database = PrismaClient;
/** A piece of a statement, with its parameters. */
export const { sql } = Prisma;
/** What statements may be run on: the client, or the transaction that the caller is in. */
export type Transaction = Pick<PrismaClient, '$queryRaw' | '$executeRaw'>;

/**
 * Opens a pooled client.
 *
 * @param url PostgreSQL connection string.
 * @param connectionsMax pool size, 8 by default: two cores are busy well below that.
 */
export function openDatabase(url: string, connectionsMax = 8): Database {
  const pool = new Pool({ connectionString: url, max: connectionsMax });
  const adapter = new PrismaPg(pool, {
    statementNameGenerator: ({ sql }) => statementName(sql),
    disposeExternalPool: true,
  });
  const database = new PrismaClient({ adapter });
  pools.set(database, pool);
  return database;
}

const pools = new WeakMap<Database, Pool>();

/** How the connections of a client are used. */
export interface PoolUse {
  readonly open: number;
  readonly idle: number;
  /** Statements that wait for one. */
  readonly wanted: number;
}

/** @throws RangeError for a client that `openDatabase` didn't open. */
export function poolUse(database: Database): PoolUse {
  const pool = pools.get(database);
  if (!pool) throw new RangeError('the client has no pool of its own');
  return { open: pool.totalCount, idle: pool.idleCount, wanted: pool.waitingCount };
}

/** Statements are templates, so there are few; what isn't must not fill the server's memory. */
const NAMED_STATEMENTS_MAX = 200;
const statementNames = new Map<string, string>();

/**
 * A statement that has a name is parsed and planned once for each connection, not each time. So a
 * pooler between here and PostgreSQL must support prepared statements (PgBouncer ≥ 1.21 does).
 */
function statementName(sql: string): string {
  const known = statementNames.get(sql);
  if (known !== undefined) return known;
  // The empty name is PostgreSQL's unnamed statement.
  if (statementNames.size >= NAMED_STATEMENTS_MAX) return '';
  const name = `plx_${statementNames.size}`;
  statementNames.set(sql, name);
  return name;
}

/**
 * Runs `work` in one transaction. Statements in `work` must use the transaction they are given.
 * The time limits are short on purpose: hot statements lock rows that others wait for.
 */
export function inTransaction<T>(
  database: Database,
  work: (transaction: Transaction) => Promise<T>,
): Promise<T> {
  return database.$transaction(work, { maxWait: 5_000, timeout: 10_000 });
}

/** Whether a statement failed because there is a row of that key (SQLSTATE 23505). */
export function isUniqueViolation(error: unknown): boolean {
  if (!(error instanceof Prisma.PrismaClientKnownRequestError)) return false;
  const { driverAdapterError } = (error.meta ?? {}) as {
    driverAdapterError?: { cause?: { originalCode?: string } };
  };
  return driverAdapterError?.cause?.originalCode === '23505';
}
