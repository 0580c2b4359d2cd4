import type { NodeId } from '../protocol/ids.ts';
import { OUTAGE_SECONDS } from '../protocol/outage.ts';
import type { TransitionCode } from '../protocol/presence.ts';
import { ONLINE_SECONDS } from '../protocol/schedule.ts';
import type { BackgroundDependencies } from './background.ts';
import { logTransition } from './heartbeat.ts';

/**
 * Takes nodes that went silent offline; their uptime ended with their last heartbeat. Nobody could
 * have heard them during an outage of the network, so silence counts from its end.
 *
 * @returns which, once each.
 */
export async function markOffline({
  database,
  log,
}: Pick<BackgroundDependencies, 'database' | 'log'>): Promise<readonly NodeId[]> {
  const code: TransitionCode = 'node.heartbeat_lost';
  const rows = await database.$queryRaw<{ nodeId: NodeId }[]>`
    WITH lost AS (
      UPDATE node SET is_online = FALSE WHERE id IN (
        SELECT id FROM node
        WHERE is_online
          AND last_seen_at < now() - make_interval(secs => ${ONLINE_SECONDS}::float8)
          AND NOT EXISTS (SELECT FROM outage
                          WHERE ended_at > now() - make_interval(secs => ${ONLINE_SECONDS}::float8))
          AND NOT EXISTS (SELECT FROM pulse
                          WHERE beat_at < now() - make_interval(secs => ${OUTAGE_SECONDS}::float8))
        FOR NO KEY UPDATE OF node SKIP LOCKED)
      RETURNING id, last_seen_at),
    closed AS (
      UPDATE node_uptime SET ended_at = greatest(began_at, last_seen_at), end_code = ${code}
      FROM lost WHERE node_id = lost.id AND ended_at IS NULL)
    INSERT INTO node_transition (node_id, code) SELECT id, ${code} FROM lost
    RETURNING node_id AS "nodeId"`;
  const lost = rows.map(({ nodeId }) => nodeId);
  for (const nodeId of lost) logTransition(log, nodeId, code);
  return lost;
}
