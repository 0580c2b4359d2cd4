import { randomBytes } from 'node:crypto';
import type { Database } from '../../prisma/client.ts';
import type { Prisma } from '../../prisma/generated/client.ts';
import { formatNodeId, type NodeId } from '../../protocol/ids.ts';
import { INSTANT_MODEL } from '../../bench/instant-backend.ts';
import { OPERATOR } from './seeded.ts';

export type PoolNodeData = Partial<Prisma.NodeUncheckedCreateInput>;

/**
 * Puts a node in the pool that exists only as a row: measured, online, with free slots, on a
 * machine of its own unless `changed` names another.
 */
export async function addPoolNode(database: Database, changed: PoolNodeData = {}): Promise<NodeId> {
  const id = (changed.id ?? formatNodeId(randomBytes(32))) as NodeId;
  const { tier = 1, slots = 1, tokensPerSecond = 1_000, operatorId = OPERATOR } = changed;
  const { machineId = id } = changed;
  const key = Buffer.from('key');
  await database.machine.upsert({
    where: { id: machineId },
    create: { id: machineId, operatorId, name: machineId },
    update: {},
  });
  await database.slot.createMany({
    data: Array.from({ length: slots }, (_, index) => ({ machineId, index })),
    skipDuplicates: true,
  });
  await database.node.create({
    data: {
      id,
      name: `tier-${tier}`,
      operatorId,
      machineId,
      slots,
      status: 'active',
      tier,
      claimedTier: tier,
      workloadClasses: ['ai.inference'],
      modelId: INSTANT_MODEL.id,
      modelDigest: INSTANT_MODEL.digest,
      engine: 'instant/1',
      tokensPerSecond,
      claimedTokensPerSecond: tokensPerSecond,
      measuredAt: new Date(Date.now() - 60_000),
      signingKey: key,
      encryptionKey: key,
      ...changed,
    },
  });
  return id;
}

/** Takes a node and its machine out of the database again. */
export async function deletePoolNodes(database: Database, ids: readonly string[]): Promise<void> {
  const nodes = await database.node.findMany({ where: { id: { in: [...ids] } } });
  const machines = nodes.map(({ machineId }) => machineId);
  await database.nodeUptime.deleteMany({ where: { nodeId: { in: [...ids] } } });
  await database.node.deleteMany({ where: { id: { in: [...ids] } } });
  await database.slot.deleteMany({ where: { machineId: { in: machines } } });
  await database.machine.deleteMany({ where: { id: { in: machines } } });
}
