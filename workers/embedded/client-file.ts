import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

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
  // Renamed into place: never half written, and the mode holds though another file was there.
  const fresh = `${file}.${process.pid}`;
  await writeFile(fresh, `${JSON.stringify({ gatewayUrl, apiKey })}\n`, { mode: 0o600 });
  await rename(fresh, file);
  return () => rm(file, { force: true });
}
