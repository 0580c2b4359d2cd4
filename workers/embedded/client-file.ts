import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeDurably } from './files.ts';

/** What to present to a gateway: as an account, and to decide on nodes. */
export interface ClientKeys {
  readonly apiKey: string;
  readonly adminKey: string;
}

/**
 * Leaves what a client on this machine needs in `client.json`, which only its owner can read: that
 * is how `prlx` finds the network.
 *
 * @returns takes the file away again, so that nobody calls a network that has stopped.
 */
export async function leaveClientFile(
  dataDir: string,
  gatewayUrl: string,
  { apiKey, adminKey }: ClientKeys,
): Promise<() => Promise<void>> {
  const file = join(dataDir, 'client.json');
  await writeDurably(file, `${JSON.stringify({ gatewayUrl, apiKey, adminKey })}\n`, 0o600);
  return () => rm(file, { force: true });
}
