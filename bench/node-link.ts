import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { loadOrCreateNodeKeys } from '../crypto/key-files.ts';
import type { NodeKeys } from '../crypto/keys.ts';
import { openEdgeLink, type EdgeLink } from '../nodes/edge-link.ts';

/** What `startPlane` tells each node of where it belongs. */
export const nodeLinkEnv = z.object({
  PLX_EDGE_ADDRESS: z.string(),
  PLX_EDGE_CA: z.string(),
  PLX_NODE_KEYS: z.string(),
});

/** The keys of a benchmark's node, and its way into the network; it logs nothing. */
export async function openNodeLink(
  config: z.infer<typeof nodeLinkEnv>,
): Promise<{ readonly keys: NodeKeys; readonly link: EdgeLink }> {
  const keys = await loadOrCreateNodeKeys(config.PLX_NODE_KEYS);
  const link = await openEdgeLink({
    address: config.PLX_EDGE_ADDRESS,
    ca: await readFile(config.PLX_EDGE_CA, 'utf8'),
    directory: config.PLX_NODE_KEYS,
    keys,
    log: { info: () => {}, warn: () => {} },
  });
  return { keys, link };
}
