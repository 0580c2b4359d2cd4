import type { Database } from '../../prisma/client.ts';

/** The history of a node, as codes in their order. */
export async function transitions(database: Database, nodeId: string): Promise<string[]> {
  const rows = await database.nodeTransition.findMany({
    where: { nodeId },
    orderBy: { id: 'asc' },
  });
  return rows.map(({ code }) => code);
}

/** A node's windows of uptime, in their order. */
export function windows(database: Database, nodeId: string) {
  return database.nodeUptime.findMany({
    where: { nodeId },
    orderBy: { id: 'asc' },
    select: { beganAt: true, endedAt: true, endCode: true },
  });
}

/** Has everything that is known of a node's presence happened that much earlier. */
export async function age(database: Database, nodeId: string, seconds: number): Promise<void> {
  await database.$executeRaw`
    UPDATE node SET last_seen_at = last_seen_at - make_interval(secs => ${seconds}::float8)
    WHERE id = ${nodeId}`;
  await database.$executeRaw`
    UPDATE node_uptime SET began_at = began_at - make_interval(secs => ${seconds}::float8)
    WHERE node_id = ${nodeId} AND ended_at IS NULL`;
}
