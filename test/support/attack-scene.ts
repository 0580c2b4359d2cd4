import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Scene, Work } from '../../bench/attacks/attack.ts';
import { issued, lapsedTerms } from '../../bench/attacks/certificates.ts';
import { loopbackAddresses } from '../../bench/attacks/network.ts';
import { Stranger } from '../../bench/attacks/stranger.ts';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { CHAIN_ID } from '../../bench/signed-binding.ts';
import { generateNodeKeys } from '../../crypto/keys.ts';
import { spawnRole, type Role } from '../../workers/embedded/process.ts';
import { startCoordination, type Coordination } from './coordination.ts';
import { EDGE_TOKEN, testCaFile } from './network-edge.ts';
import { freePort, testServers } from './servers.ts';
import { startTestNode, type TestNode } from './test-node.ts';
import { until } from './until.ts';

/** What nobody but the honest node and who asks may read. */
export const SECRET = 'a secret between two';
const OPERATOR_KEY = `0x${'5a'.repeat(32)}` as const;
/** How long a request that came to the stranger is on its way at most. */
const WORK_MS_MAX = 2_500;
const REQUESTS_MAX = 20;
/** Temporal gives up an attempt without heartbeats after 10 s. */
const WORK_IS_GOOD_MS = 5_000;

/** A real network with one honest node, and two strangers who hold to nothing. */
export interface AttackScene {
  readonly network: Coordination;
  readonly scene: Scene;
  readonly honest: TestNode;
  readonly stranger: Stranger;
  readonly edgePid: number;
  /** How often the edge has refused so far, by code. */
  readonly refused: () => Promise<ReadonlyMap<string, number>>;
  /** What the edge has logged. */
  logged(): Promise<string>;
  /** Asks for an answer that the honest node can give. @returns its status. */
  ask(): Promise<number>;
  /** Waits for the requests that the strangers were given. @returns their ids. */
  givenToStrangers(): Promise<readonly string[]>;
  stop(): Promise<void>;
}

export async function startAttackScene(): Promise<AttackScene> {
  const network = await startCoordination();
  const edge = await startEdgeProcess(network);
  const { host, port, ca } = edge;
  const honest = await startTestNode({
    ...network,
    edge: { address: `${host}:${port}`, ca },
    backend: instantBackend(),
    name: 'honest',
    tier: 2,
  });
  const place = { host, port, ca, from: loopbackAddresses() };
  const enrol = async (name: string) => {
    const options = { name, operatorKey: OPERATOR_KEY, chainId: CHAIN_ID, model: INSTANT_MODEL };
    const stranger = await Stranger.enrol(place, options);
    await stranger.register();
    return stranger;
  };
  const [stranger, accomplice, removed] = await Promise.all([
    enrol('stranger'),
    enrol('accomplice'),
    enrol('removed'),
  ]);
  const where = { id: removed.keys.nodeId };
  await network.database.node.update({ where, data: { status: 'removed' } });
  stranger.beat();
  const given = worksOf(network, stranger);
  const scene: Scene = {
    edge: place,
    stranger,
    accomplice,
    victim: honest.keys.nodeId,
    lapsed: { expired: await expired(), removed: removed.credentials },
    ...given,
  };
  return {
    network,
    scene,
    honest,
    stranger,
    edgePid: edge.role.pid,
    refused: async () => counted(edge.metricsUrl),
    logged: () => readFile(edge.logFile, 'utf8'),
    ask: async () => (await given.request()).status,
    givenToStrangers: () => given.ended(),
    async stop() {
      await Promise.all([stranger, accomplice].map((each) => each.leave()));
      await honest.stop();
      await edge.role.stop();
      await network.stop();
    },
  };
}

/** Real requests: the stranger is the smaller node, so they come to it first. */
function worksOf(network: Coordination, stranger: Stranger) {
  const { database } = network;
  const requests: Promise<Response>[] = [];
  let current: { work: Work; atMs: number } | undefined;
  const request = () =>
    network.chat({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: SECRET }],
      max_tokens: 16,
      deadline_seconds: 60,
    });
  const next = async () => {
    for (let tried = 0; tried < REQUESTS_MAX; tried += 1) {
      // What it did before made it wait for another measurement, or lost it its place.
      await database.$executeRaw`
        UPDATE node SET status = 'active', tier = 1, tokens_per_second = 1000, is_online = TRUE,
                        is_ready = TRUE, is_full = FALSE, last_seen_at = now(),
                        measured_at = now(), probe_until = NULL
        WHERE id = ${stranger.keys.nodeId}`;
      const polled = stranger.poll(WORK_MS_MAX);
      requests.push(request());
      const work = await polled;
      // What it did before may count against it only now; or this is another measurement.
      if (work && (await database.request.count({ where: { id: work.unitId } })) > 0) return work;
    }
    return assert.fail('the stranger was given no work');
  };
  const work = async () => {
    if (!current || Date.now() - current.atMs > WORK_IS_GOOD_MS)
      current = { work: await next(), atMs: Date.now() };
    return current.work;
  };
  return {
    request,
    work,
    async spend() {
      const spent = await work();
      current = undefined;
      return spent;
    },
    async ended() {
      const ids: string[] = [];
      for (const response of await Promise.all(requests)) {
        await response.text();
        ids.push(response.headers.get('x-request-id') ?? '');
        const view = await network.ended(ids.at(-1) ?? '');
        assert.equal(view.status, 'completed');
      }
      return ids;
    },
  };
}

/** An edge as a process of its own, in front of a network. */
async function startEdgeProcess(network: Coordination) {
  const { directory } = await testServers();
  const [port, metricsPort] = [await freePort(), await freePort()];
  const logFile = join(directory, `edge-${port}.log`);
  const role: Role = await spawnRole({
    name: 'edge',
    entry: fileURLToPath(new URL('../../workers/edge.ts', import.meta.url)),
    logFile,
    env: {
      DATABASE_URL: network.databaseUrl,
      TEMPORAL_ADDRESS: network.temporalAddress,
      PLX_COORDINATOR_URL: network.coordinatorUrl,
      PLX_EDGE_TOKEN: EDGE_TOKEN,
      PLX_EDGE_PORT: String(port),
      PLX_EDGE_KEYS: join(directory, `keys-edge-${port}`),
      PLX_BLOB_DIR: join(directory, `blobs-${port}`),
      PLX_EDGE_METRICS_PORT: String(metricsPort),
    },
  });
  const metricsUrl = `http://127.0.0.1:${metricsPort}/metrics`;
  const { host, ca } = { host: '127.0.0.1', ca: network.edge.ca };
  return { role, host, port, ca, metricsUrl, logFile };
}

/** A certificate of this network's own CA that was good until yesterday. */
async function expired() {
  const text = await readFile(await testCaFile(), 'utf8');
  const blocks = text.match(/-----BEGIN [^-]+-----[^-]+-----END [^-]+-----/g) ?? [];
  const [cert = ''] = blocks.filter((block) => block.includes('BEGIN CERTIFICATE'));
  const [key = ''] = blocks.filter((block) => block.includes('PRIVATE KEY'));
  const keys = await generateNodeKeys();
  return issued(keys, lapsedTerms(keys.nodeId), { key, cert });
}

async function counted(metricsUrl: string): Promise<ReadonlyMap<string, number>> {
  const text = await (await fetch(metricsUrl)).text();
  const lines = text.matchAll(/^plx_edge_refused_total\{code="([\w.]+)"\} (\d+)/gm);
  return new Map([...lines].map(([, code = '', count]) => [code, Number(count)]));
}

/** Waits until the edge has counted more than before. @returns how much more, by code. */
export async function countedMore(
  { refused }: AttackScene,
  before: ReadonlyMap<string, number>,
  isEnough: (more: ReadonlyMap<string, number>) => boolean,
  what: string,
): Promise<void> {
  await until(async () => {
    const now = await refused();
    return isEnough(new Map([...now].map(([code, n]) => [code, n - (before.get(code) ?? 0)])));
  }, what);
}
