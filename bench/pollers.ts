import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import proto from '@temporalio/proto';
import { caSource, type CaRing } from '../crypto/ca.ts';
import { issueNodeCertificate } from '../crypto/certificates.ts';
import { exportSpki, generateRsa, nodeIdOf } from '../crypto/keys.ts';
import { frame } from '../edge/grpc-message.ts';
import { nodeQueue } from '../protocol/queues.ts';
import type { Cluster } from './cluster.ts';
import { cpuSeconds } from './processes.ts';

const { PollActivityTaskQueueRequest } = proto.temporal.api.workflowservice.v1;
const POLL = '/temporal.api.workflowservice.v1.WorkflowService/PollActivityTaskQueue';

/** As many as an edge lets one node have. */
const CONNECTIONS_PER_NODE = 8;
/** Below what an edge takes from one address; each has addresses of its own in 127.0.0.0/8. */
const CONNECTIONS_PER_ADDRESS = 200;
/** Connections at a time: a storm of handshakes is no part of what is measured. */
const CONNECT_PAUSE_MS = 30;
const SETTLED_MS = 5_000;
const CERTIFICATE_SECONDS = 3_600;

/** What an edge uses, over some seconds. */
export interface EdgeUse {
  readonly rssBytes: number;
  /** Of one core. */
  readonly cpuShare: number;
}

/** An edge with nothing to do, with no pollers and with many. */
export interface PollersCost {
  readonly pollers: number;
  readonly without: EdgeUse;
  readonly with: EdgeUse;
}

/**
 * Measures what connected, idle nodes cost an edge: each is a TLS connection of its own with one
 * long poll, raw gRPC over HTTP/2. Their clients are in this process, the edge in its own.
 */
export async function measurePollers(
  cluster: Cluster,
  pollers: number,
  secondsPerRun: number,
): Promise<PollersCost> {
  const edge = cluster.pids['edge'];
  if (edge === undefined) throw new Error('the cluster has no edge');
  const ca = await caSource({ directory: cluster.coordinatorKeys })();
  const nodes = Array.from({ length: Math.ceil(pollers / CONNECTIONS_PER_NODE) }, () => node(ca));
  const made = await Promise.all(nodes);
  const without = await use(edge, secondsPerRun);
  const sessions: ClientHttp2Session[] = [];
  try {
    for (let index = 0; index < pollers; index++) {
      const client = made[Math.floor(index / CONNECTIONS_PER_NODE)];
      if (!client) throw new Error('too few nodes');
      const localAddress = `127.0.1.${1 + Math.floor(index / CONNECTIONS_PER_ADDRESS)}`;
      sessions.push(await poll(cluster.edgeAddress, ca.trusted, client, localAddress));
      await sleep(CONNECT_PAUSE_MS);
    }
    await sleep(SETTLED_MS);
    const lost = sessions.filter(({ destroyed }) => destroyed).length;
    if (lost > 0) throw new Error(`${lost} of ${pollers} pollers were disconnected`);
    return { pollers, without, with: await use(edge, secondsPerRun) };
  } finally {
    for (const session of sessions) session.destroy();
  }
}

interface Client {
  readonly queue: string;
  readonly key: string;
  readonly cert: string;
}

async function node({ issuer }: CaRing): Promise<Client> {
  const { privateKey, publicKey } = await generateRsa();
  const nodeId = nodeIdOf(exportSpki(publicKey));
  const issued = await issueNodeCertificate(issuer, publicKey, nodeId, CERTIFICATE_SECONDS);
  return {
    queue: nodeQueue(nodeId),
    key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    cert: issued.certificate,
  };
}

/** Connects and polls, again whenever a poll has ended. */
async function poll(
  address: string,
  ca: string,
  { queue, key, cert }: Client,
  localAddress: string,
): Promise<ClientHttp2Session> {
  const [host = '', port = ''] = address.split(':');
  const tls = { host, port: Number(port), localAddress, key, cert, ca, ALPNProtocols: ['h2'] };
  const socket = connectTls(tls);
  const session = connectHttp2(`https://${address}`, { createConnection: () => socket });
  session.on('error', () => session.destroy());
  await once(session, 'connect');
  const taskQueue = { name: queue, kind: 1 };
  const body = PollActivityTaskQueueRequest.encode({ namespace: 'default', taskQueue }).finish();
  const again = () => {
    if (session.destroyed) return;
    const stream = session.request({
      ':method': 'POST',
      ':path': POLL,
      te: 'trailers',
      'content-type': 'application/grpc',
    });
    stream.on('error', () => undefined);
    stream.on('close', again);
    stream.resume();
    stream.end(frame(body));
  };
  again();
  return session;
}

async function use(pid: number, seconds: number): Promise<EdgeUse> {
  const before = await cpuSeconds({ edge: pid });
  await sleep(seconds * 1_000);
  const after = await cpuSeconds({ edge: pid });
  return { rssBytes: await rss(pid), cpuShare: (after.edge - before.edge) / seconds };
}

/** Linux tells it; so this benchmark runs there alone. */
async function rss(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return 1_024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
}
