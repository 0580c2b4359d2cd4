import { join } from 'node:path';
import type { CaRing } from '../../crypto/ca.ts';
import { writeDurably } from './files.ts';

/** Where nodes of an embedded network find by what to know the edge. */
export function edgeCaPath(dataDir: string): string {
  return join(dataDir, 'keys', 'edge-ca.pem');
}

/** Writes the certificates alone. */
export async function writeEdgeCa(path: string, { trusted }: CaRing): Promise<void> {
  await writeDurably(path, trusted);
}
