import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeDurably } from './files.ts';

/** Where a network is, and what to present to it. */
export interface ClientFile {
  readonly gatewayUrl: string;
  readonly apiKey: string;
  /** To decide on nodes. */
  readonly adminKey: string;
  /** HOST:PORT, where nodes connect. */
  readonly edgeAddress: string;
  /** File of the certificates by which nodes know the edge. */
  readonly edgeCa: string;
}

/**
 * Leaves what a client on this machine needs in `client.json`, which only its owner can read: that
 * is how `prlx` finds the network.
 *
 * @returns takes the file away again, so that nobody calls a network that has stopped.
 */
export async function leaveClientFile(
  dataDir: string,
  { gatewayUrl, apiKey, adminKey, edgeAddress, edgeCa }: ClientFile,
): Promise<() => Promise<void>> {
  const file = join(dataDir, 'client.json');
  const content = { gatewayUrl, apiKey, adminKey, edgeAddress, edgeCa };
  await writeDurably(file, `${JSON.stringify(content)}\n`, 0o600);
  return () => rm(file, { force: true });
}
