import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import fastify from 'fastify';
import pino from 'pino';
import { generateWrapKey, type Ring, type WrapKey } from '../../crypto/keys.ts';
import type { EdgeLimits } from '../../edge/limits.ts';
import { openEdge, type Edge } from '../../edge/edge.ts';
import { nodeQueue } from '../../protocol/queues.ts';
import { freshDatabase, testServers, type TestDatabase } from './servers.ts';
import { testCa, type TestCa, type TestNodeCertificate } from './test-ca.ts';
import './quiet-temporal.ts';

/** An edge in front of the real servers of the tests. */
export interface EdgeScene {
  readonly edge: Edge;
  readonly ca: TestCa;
  readonly db: TestDatabase;
  readonly ring: Ring<WrapKey>;
  /** Temporal, as the coordinator sees it. */
  readonly client: Client;
  readonly temporalAddress: string;
  /** What the edge logged. */
  readonly logged: Record<string, unknown>[];
  /** How often the edge refused with that code. */
  refused(code: string): Promise<number>;
  /** Gives the edges another certificate. @param trusted CAs of nodes, by default its own. */
  renew(trusted?: string): Promise<void>;
  /** Another edge beside it, with the same keys. */
  another(): Promise<Edge>;
  stop(): Promise<void>;
}

/** @param limits that differ from those of the product. */
export async function startEdgeScene(limits: Partial<EdgeLimits> = {}): Promise<EdgeScene> {
  const { temporalAddress } = await testServers();
  const db = await freshDatabase();
  const ca = await testCa();
  const ring: Ring<WrapKey> = [generateWrapKey()];
  const logged: Record<string, unknown>[] = [];
  const log = pino({ level: 'info' }, { write: (line) => void logged.push(JSON.parse(line)) });
  const onRenewed: (() => void)[] = [];
  let material = { ...(await ca.edge()), ca: ca.ca };
  const start = () =>
    openEdge(
      {
        host: '127.0.0.1',
        port: 0,
        temporalAddress,
        namespace: 'default',
        database: db.database,
        ring,
        tls: { current: () => material, onRenewed: (listener) => void onRenewed.push(listener) },
        createNodeApi: () => fastify(),
        limits,
      },
      log,
    );
  const edge = await start();
  const connection = await Connection.connect({ address: temporalAddress });
  const edges = [edge];
  return {
    edge,
    ca,
    db,
    ring,
    client: new Client({ connection }),
    temporalAddress,
    logged,
    async refused(code) {
      const counter = edge.metrics.getSingleMetric('plx_edge_refused_total');
      const { values = [] } = (await counter?.get()) ?? {};
      return values.find(({ labels }) => labels['code'] === code)?.value ?? 0;
    },
    async renew(trusted = ca.ca) {
      material = { ...(await ca.edge()), ca: trusted };
      for (const listener of onRenewed) listener();
    },
    async another() {
      const other = await start();
      edges.push(other);
      return other;
    },
    async stop() {
      await Promise.all(edges.map((each) => each.stop()));
      await connection.close();
      await db.close();
    },
  };
}

/** A stock worker of a node, connected by way of an edge. */
export interface EdgeWorker {
  readonly worker: Worker;
  stop(): Promise<void>;
}

export async function startEdgeWorker(
  { address }: Pick<Edge, 'address'>,
  ca: string,
  node: TestNodeCertificate,
  execute: (input: unknown) => Promise<unknown>,
): Promise<EdgeWorker> {
  const connection = await NativeConnection.connect({
    address,
    tls: {
      serverRootCACertificate: Buffer.from(ca),
      clientCertPair: { crt: Buffer.from(node.cert), key: Buffer.from(node.key) },
    },
  });
  const worker = await Worker.create({
    connection,
    namespace: 'default',
    taskQueue: nodeQueue(node.nodeId),
    activities: { execute },
    maxConcurrentActivityTaskExecutions: 4,
    maxConcurrentActivityTaskPolls: 2,
  });
  const running = worker.run();
  running.catch(() => {});
  return {
    worker,
    async stop() {
      worker.shutdown();
      await running;
      await connection.close();
    },
  };
}
