import type { Client } from '@temporalio/client';
import type { Logger } from 'pino';
import type { Database } from '../prisma/client.ts';

/** What the background work of a coordinator is done with. */
export interface BackgroundDependencies {
  readonly database: Database;
  readonly client: Client;
  readonly log: Logger;
}
