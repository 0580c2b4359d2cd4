import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { Registry } from 'prom-client';
import type { Ring, WrapKey } from '../crypto/keys.ts';
import type { Database } from '../prisma/client.ts';
import type { NodeId } from '../protocol/ids.ts';
import { GrpcServer } from './grpc-server.ts';
import { peerOf } from './identity.ts';
import { EDGE_LIMITS, type EdgeLimits } from './limits.ts';
import { listen, type TlsSource } from './listener.ts';
import { LostNodes } from './lost-nodes.ts';
import { edgeMethods } from './methods.ts';
import { registerGauges, serveMetrics } from './metrics.ts';
import { Polls } from './poll.ts';
import { watchPool, type Pool } from './pool.ts';
import { countRefusals, type Refusals } from './refusals.ts';
import { respondHandlers } from './respond.ts';
import { Tasks } from './tasks.ts';
import { connectUpstream } from './upstream.ts';

export interface EdgeOptions {
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
  readonly temporalAddress: string;
  readonly namespace: string;
  readonly database: Database;
  /** Seals task tokens; the same for all edges. */
  readonly ring: Ring<WrapKey>;
  readonly tls: TlsSource;
  /** Serves what isn't gRPC, with the parts of the edge that it needs. */
  readonly createNodeApi: (parts: EdgeParts) => FastifyInstance;
  /** By default none is listened on. */
  readonly metricsPort?: number;
  /** What differs from `EDGE_LIMITS`. */
  readonly limits?: Partial<EdgeLimits>;
}

/** What both sides of the edge use. */
export interface EdgeParts {
  readonly pool: Pool;
  readonly refusals: Refusals;
  readonly metrics: Registry;
}

export interface Edge {
  /** HOST:PORT */
  readonly address: string;
  readonly port: number;
  readonly metrics: Registry;
  readonly metricsPort: number | null;
  /** Ends polls, takes answers to tasks for a while, and stops. */
  stop(): Promise<void>;
}

/** How long answers to tasks are still taken by an edge that stops. */
const DRAIN_MS_MAX = 10_000;
const DRAIN_LOOK_MS = 50;

/** Opens an edge: the one place that nodes know. Several may run side by side. */
export async function openEdge(options: EdgeOptions, log: Logger): Promise<Edge> {
  const { database, namespace } = options;
  const limits = { ...EDGE_LIMITS, ...options.limits };
  const metrics = new Registry();
  const refusals = countRefusals(log, metrics);
  const pool = watchPool(database, log);
  const upstream = connectUpstream(options.temporalAddress, namespace);
  const tasks = new Tasks({ upstream, namespace, ring: options.ring, log });
  const shared = { upstream, namespace, tasks, pool };
  const polls = new Polls({ ...shared, pollsPerNode: limits.pollsPerNode });
  const isConnected = (nodeId: NodeId) => grpc.isConnected(nodeId);
  const lostNodes = new LostNodes({ tasks, pool, isConnected, log });
  const grpc: GrpcServer = new GrpcServer({
    handlers: edgeMethods(polls, respondHandlers(shared)),
    limits,
    refusals,
    log,
    onGone(nodeId) {
      pool.unwatch(nodeId);
      lostNodes.gone(nodeId);
    },
  });
  pool.onRemoved((nodeId) => {
    polls.endOf(nodeId);
    void tasks.failAll(nodeId);
  });
  registerGauges(metrics, {
    connections: () => grpc.sessions,
    polls: () => polls.size,
    inFlight: () => tasks.inFlight.count(Date.now()),
  });
  const app = options.createNodeApi({ pool, refusals, metrics });
  await app.ready();
  const metricsServer =
    options.metricsPort === undefined ? null : await serveMetrics(metrics, options.metricsPort);
  const listener = await listen({
    host: options.host,
    port: options.port,
    tls: options.tls,
    limits,
    refusals,
    onGrpc(socket, peer, address) {
      if (!grpc.isConnected(peer.nodeId)) pool.watch(peer.nodeId);
      grpc.accept(socket, peer, address);
    },
    onHttp(socket) {
      const peer = peerOf(socket);
      if (peer) {
        pool.watch(peer.nodeId);
        socket.once('close', () => pool.unwatch(peer.nodeId));
      }
      app.server.emit('connection', socket);
    },
  });
  return {
    address: `${listener.host}:${listener.port}`,
    port: listener.port,
    metrics,
    metricsPort: metricsServer?.port ?? null,
    async stop() {
      listener.close();
      polls.drain();
      const untilMs = Date.now() + DRAIN_MS_MAX;
      while (tasks.inFlight.count(Date.now()) > 0 && Date.now() < untilMs)
        await sleep(DRAIN_LOOK_MS);
      // What isn't answered may be by another edge.
      lostNodes.stop();
      grpc.close();
      await app.close();
      grpc.destroy();
      listener.destroy();
      lostNodes.stop();
      pool.stop();
      upstream.close();
      metricsServer?.close();
    },
  };
}
