import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../../prisma/client.ts';

const LOOK_MS = 25;

/**
 * Waits until nodes have been measured and get work.
 *
 * @param count how many active nodes are waited for.
 * @param withinSeconds the longest wait: nobody waits for ever for a node that can't serve.
 * @returns whether there are as many now.
 */
export async function whenNodesActive(
  database: Database,
  count: number,
  withinSeconds: number,
): Promise<boolean> {
  const untilMs = Date.now() + withinSeconds * 1_000;
  for (;;) {
    const active = await database.node.count({ where: { status: 'active' } });
    if (active >= count) return true;
    if (Date.now() > untilMs) return false;
    await sleep(LOOK_MS);
  }
}
