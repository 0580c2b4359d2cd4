import { randomBytes } from 'node:crypto';
import { reserve, type ScheduleInput } from '../activities/schedule.ts';
import { openDatabase, type Database } from '../prisma/client.ts';
import { migrate } from '../prisma/migrate.ts';
import type { UnitId } from '../protocol/ids.ts';
import { seed, seedOperators } from '../workers/embedded/seed.ts';
import { query } from './cluster.ts';
import { INSTANT_MODEL } from './instant-backend.ts';
import { testOperator } from './signed-binding.ts';
import { percentile } from './statistics.ts';

/** Pools that are compared, in nodes. */
export const POOL_SIZES = [100, 10_000] as const;
/** The smallest nodes are busy, as best fit leaves them. */
const BUSY_SHARE = 0.7;
const SLOTS_PER_NODE = 2;
/** Reservations that one median is of. */
const RESERVATIONS_PER_ROUND = 50;

/** What one reservation costs in a pool, by round. */
export interface ReservationCost {
  readonly nodes: number;
  /** Median of each round, in milliseconds. */
  readonly medianMs: readonly number[];
}

/**
 * Measures the reservation of a slot, as Schedule makes it, in pools of different sizes: in turns,
 * on one server, so that what else the machine does meets all of them.
 *
 * @param databaseUrl of a server on which databases can be made.
 * @param rounds how often each pool's turn comes.
 */
export async function measureReservations(
  databaseUrl: string,
  rounds: number,
): Promise<readonly ReservationCost[]> {
  const pools = [];
  try {
    for (const nodes of POOL_SIZES) pools.push({ nodes, ...(await openPool(databaseUrl, nodes)) });
    const medians = new Map<number, number[]>(POOL_SIZES.map((nodes) => [nodes, []]));
    for (const { database } of pools) await round(database);
    for (let turn = 0; turn < rounds; turn++)
      for (const { nodes, database } of pools) medians.get(nodes)?.push(await round(database));
    return POOL_SIZES.map((nodes) => ({ nodes, medianMs: medians.get(nodes) ?? [] }));
  } finally {
    for (const { database } of pools) await database.$disconnect();
  }
}

async function openPool(databaseUrl: string, nodes: number): Promise<{ database: Database }> {
  const name = `pool_${nodes}`;
  await query(databaseUrl, `CREATE DATABASE ${name}`);
  const url = new URL(databaseUrl);
  url.pathname = `/${name}`;
  await migrate(url.href);
  const database = openDatabase(url.href, 2);
  await seed(database, randomBytes(24).toString('base64url'), INSTANT_MODEL);
  await seedOperators(database, [testOperator('operator')]);
  await fill(database, nodes);
  return { database };
}

/** Nodes of tiers 1 to 5, each of another speed. */
async function fill(database: Database, nodes: number): Promise<void> {
  const busy = Math.floor(nodes * BUSY_SHARE);
  await database.$executeRaw`
    INSERT INTO machine (id, operator_id, name)
    SELECT 'm' || n, 'operator', 'm' || n FROM generate_series(1, ${nodes}::int) AS n`;
  await database.$executeRaw`
    INSERT INTO node (id, name, operator_id, machine_id, slots, status, tier, workload_classes,
                      model_id, model_digest, engine, tokens_per_second, signing_key,
                      encryption_key, last_seen_at, is_full)
    SELECT 'nd_' || lpad(to_hex(n), 64, '0'), 'n' || n, 'operator', 'm' || n,
           ${SLOTS_PER_NODE}::int, 'active', 1 + 5 * (n - 1) / ${nodes}::int, '{ai.inference}',
           ${INSTANT_MODEL.id}, ${INSTANT_MODEL.digest}, 'e', 100 + n, '', '',
           now() + interval '1 hour', n <= ${busy}::int
    FROM generate_series(1, ${nodes}::int) AS n`;
  await database.$executeRaw`
    INSERT INTO slot (machine_id, index, unit_id, dispatch, lease_until)
    SELECT 'm' || n, index, CASE WHEN n <= ${busy}::int THEN 'busy-' || n || '-' || index END,
           CASE WHEN n <= ${busy}::int THEN 1 END,
           CASE WHEN n <= ${busy}::int THEN now() + interval '1 hour' END
    FROM generate_series(1, ${nodes}::int) AS n,
         generate_series(0, ${SLOTS_PER_NODE}::int - 1) AS index`;
  await database.$executeRaw`ANALYZE`;
}

/** @returns the median of a round's reservations, in milliseconds. */
async function round(database: Database): Promise<number> {
  const elapsedMs: number[] = [];
  for (let count = 0; count < RESERVATIONS_PER_ROUND; count++) {
    const input = unit();
    const startedAt = performance.now();
    const reserved = await reserve(database, 'http://127.0.0.1:1', input);
    elapsedMs.push(performance.now() - startedAt);
    if (!reserved) throw new Error('There was no free slot to measure with.');
    await database.$queryRaw`SELECT release_slot(${input.unitId}, 1)`;
  }
  return percentile(elapsedMs, 50);
}

function unit(): ScheduleInput {
  const nowMs = Date.now();
  return {
    unitId: `req_${randomBytes(32).toString('hex')}` as UnitId,
    dispatch: 1,
    usedNodes: [],
    request: {
      parameters: {
        workloadClass: 'ai.inference',
        model: INSTANT_MODEL.id,
        hardwareTier: 1,
        priority: 'standard',
        deadlineSeconds: 120,
        maxTokens: 16,
        stream: false,
        seed: null,
      },
      modelDigest: INSTANT_MODEL.digest,
      complexity: 100,
      acceptedAtMs: nowMs,
      deadlineAtMs: nowMs + 120_000,
      payloadBytes: 100,
    },
  };
}
