import { PrismaPg } from '@prisma/adapter-pg';
import { PrismaClient } from './generated/client.ts';

export type Database = PrismaClient;
/** What statements may be run on: the client, or the transaction that the caller is in. */
export type Transaction = Pick<PrismaClient, '$queryRaw' | '$executeRaw'>;

/**
 * Opens a pooled client.
 *
 * @param url PostgreSQL connection string.
 * @param connectionsMax pool size, 8 by default: two cores are busy well below that.
 */
export function openDatabase(url: string, connectionsMax = 8): Database {
  const adapter = new PrismaPg({ connectionString: url, max: connectionsMax });
  return new PrismaClient({ adapter });
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
