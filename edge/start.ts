import type { Logger } from 'pino';
import { checkCertificateRequest } from '../crypto/certificate-requests.ts';
import { loadOrCreateWrapRing } from '../crypto/key-files.ts';
import { openDatabase } from '../prisma/client.ts';
import { addressKey, KeyedBuckets } from '../protocol/buckets.ts';
import type { NodeId } from '../protocol/ids.ts';
import { directoryStore } from './blob-store.ts';
import { sweepBlobs } from './blobs.ts';
import { CoordinatorClient } from './coordinator-client.ts';
import { peerOf } from './identity.ts';
import type { EdgeLimits } from './limits.ts';
import { openEdge, type Edge, type EdgeParts } from './edge.ts';
import { createNodeApi } from './node-api.ts';
import { CALL_RATES, type NodeCall } from './node-calls.ts';
import { serverCertificate } from './server-certificate.ts';

/** Enrolments of nodes behind one address. */
const ENROLMENTS_PER_SECOND = 1;
const ENROLMENTS_BURST = 50;
const BLOBS_SWEPT_MS = 60_000;
const DATABASE_CONNECTIONS = 5;

/** What an edge has to be told; docs/configuration.md has the variables. */
export interface EdgeConfig {
  readonly databaseUrl: string;
  readonly temporalAddress: string;
  readonly namespace: string;
  readonly coordinatorUrl: string;
  readonly edgeToken: string;
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
  /** DNS names and IP addresses by which nodes call it. */
  readonly names: readonly string[];
  readonly keysDirectory: string;
  readonly blobDirectory: string;
  readonly limits?: Partial<EdgeLimits>;
}

/** An edge with all its parts: certificate, gRPC, side channels, blobs. */
export async function startEdge(config: EdgeConfig, log: Logger): Promise<Edge> {
  const database = openDatabase(config.databaseUrl, DATABASE_CONNECTIONS);
  const coordinator = new CoordinatorClient(config.coordinatorUrl, config.edgeToken, log);
  const blobs = directoryStore(config.blobDirectory);
  const tls = await serverCertificate({
    coordinator,
    names: config.names,
    log,
  });
  const edge = await openEdge(
    {
      host: config.host,
      port: config.port,
      temporalAddress: config.temporalAddress,
      namespace: config.namespace,
      database,
      ring: await loadOrCreateWrapRing(config.keysDirectory, 'task-token'),
      tls,
      createNodeApi: (parts) =>
        createNodeApi({ ...admission(parts), database, coordinator, blobs, log }),
      ...(config.limits === undefined ? {} : { limits: config.limits }),
    },
    log,
  );
  const sweep = setInterval(() => {
    sweepBlobs({ database, blobs }).catch((error: unknown) =>
      log.warn({ error: String(error) }, 'edge // blobs can not be swept'),
    );
  }, BLOBS_SWEPT_MS).unref();
  return {
    ...edge,
    async stop() {
      clearInterval(sweep);
      tls.stop();
      await edge.stop();
      await coordinator.close();
      await database.$disconnect();
    },
  };
}

/** Who is let in over HTTP, and how often. */
function admission({ pool, refusals }: EdgeParts) {
  const buckets = new Map<NodeCall, KeyedBuckets>();
  for (const [call, { perSecond, burst }] of Object.entries(CALL_RATES))
    buckets.set(call as NodeCall, new KeyedBuckets(perSecond, burst));
  const enrolments = new KeyedBuckets(ENROLMENTS_PER_SECOND, ENROLMENTS_BURST);
  return {
    peerOf,
    isRemoved: (nodeId: NodeId) => pool.isRemoved(nodeId),
    onRemoved: (listener: (nodeId: NodeId) => void) => pool.onRemoved(listener),
    allow: (nodeId: NodeId, call: NodeCall) =>
      buckets.get(call)?.take(nodeId, performance.now()) ?? false,
    allowAddress: (address: string) => enrolments.take(addressKey(address), performance.now()),
    nodeOfRequest: (csr: string) => checkCertificateRequest(csr).nodeId,
    refused: refusals.refused,
  };
}
