import { Client, Connection } from '@temporalio/client';
import pino from 'pino';
import { receive } from '../../activities/receive.ts';
import type { BackgroundDependencies } from '../../intake/background.ts';
import type { AcceptedInference } from '../../protocol/receive.ts';
import { balances, intakeCall, receiveKeys, seedInstant } from './seeded.ts';
import { freshDatabase, testServers } from './servers.ts';

/** One accepted request, and what a coordinator's background work is done with. */
export interface BackgroundScene {
  readonly database: BackgroundDependencies['database'];
  readonly dependencies: BackgroundDependencies;
  /** The ledger before the request was accepted. */
  readonly initial: Record<string, bigint>;
  readonly accepted: AcceptedInference;
  close(): Promise<void>;
}

/** Over a database of its own, and the real Temporal. */
export async function backgroundScene(): Promise<BackgroundScene> {
  const { temporalAddress } = await testServers();
  const connection = await Connection.connect({ address: temporalAddress });
  const db = await freshDatabase();
  const { database } = db;
  await seedInstant(database);
  const initial = await balances(database);
  const { accepted } = await receive(database, receiveKeys, await intakeCall());
  const client = new Client({ connection });
  return {
    database,
    dependencies: { database, client, log: pino({ level: 'silent' }) },
    initial,
    accepted,
    async close() {
      await db.close();
      await connection.close();
    },
  };
}
