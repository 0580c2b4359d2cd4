import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeDurably } from './files.ts';

/**
 * Leaves what a client on this machine needs in `client.json`, which only its owner can read: that
 * is how `prlx` finds the network.
 *
 * @returns takes the file away again, so that nobody calls a network that has stopped.
 */
export async function leaveClientFile(
  dataDir: string,
  gatewayUrl: string,
  apiKey: string,
): Promise<() => Promise<void>> {
  const file = join(dataDir, 'client.json');
  await writeDurably(file, `${JSON.stringify({ gatewayUrl, apiKey })}\n`, 0o600);
  return () => rm(file, { force: true });
}
