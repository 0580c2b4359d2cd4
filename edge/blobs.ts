import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import {
  allKeptBytes,
  forgetBlobs,
  keptBytes,
  mayPutBlobs,
  putBlob,
  readableBlob,
} from '../prisma/blobs.ts';
import type { Database } from '../prisma/client.ts';
import { CodedError } from '../protocol/errors.ts';
import type { NodeId } from '../protocol/ids.ts';
import { readBody } from './body.ts';
import type { BlobStore } from './blob-store.ts';
import { admit, UnderWay, whenOver, type NodeAdmission } from './node-calls.ts';

const MIB = 1_024 * 1_024;
const BLOB_BYTES_MAX = 64 * MIB;
const QUOTA_BYTES = 1_024 * MIB;
const TOTAL_BYTES = 10_240 * MIB;
/** How long what a node brought is kept for it. */
const KEPT_SECONDS = 7 * 86_400;
/** Of one node at once, up and down together. */
const TRANSFERS_MAX = 4;
const SILENT_MS_MAX = 15_000;
/** Also the slowest connection that is of use brings or takes the largest blob in that time. */
const TRANSFER_MS_MAX = 15 * 60_000;
const FORGOTTEN_MAX = 100;

export interface BlobDependencies {
  readonly database: Database;
  readonly blobs: BlobStore;
  /** Of one blob; 64 MiB by default. */
  readonly blobBytesMax?: number;
  /** What is kept for one node at once; 1 GiB by default. */
  readonly blobQuotaBytes?: number;
  /** What is kept for all nodes together; 10 GiB by default. */
  readonly blobTotalBytes?: number;
}

interface BlobParams {
  readonly Params: { readonly digest: string };
}

/**
 * Data by its digest, for what is too large for a message. Registered nodes bring it. A node reads
 * what it brought itself and what it was granted; anything else is not there, as far as it can
 * tell.
 */
export function blobRoutes(
  app: FastifyInstance,
  dependencies: NodeAdmission & BlobDependencies,
): void {
  const transfers = new UnderWay(TRANSFERS_MAX);
  dependencies.onRemoved((nodeId) => transfers.abort(nodeId, new CodedError('edge.node_removed')));
  const during = async <T>(
    request: FastifyRequest<BlobParams>,
    reply: FastifyReply,
    work: (nodeId: NodeId, digest: string) => Promise<T>,
  ): Promise<T> => {
    const nodeId = await admit(dependencies, request, 'blobs');
    const { digest } = request.params;
    if (!/^sha256:[0-9a-f]{64}$/.test(digest)) throw new CodedError('blob.not_found');
    const transfer = transfers.begin(nodeId);
    whenOver(reply, () => transfers.end(nodeId, transfer));
    transfer.signal.addEventListener('abort', () => request.raw.socket.destroy());
    return work(nodeId, digest);
  };
  app.put<BlobParams>('/v1/node/blobs/:digest', (request, reply) =>
    during(request, reply, async (nodeId, digest) => {
      await put(dependencies, request, nodeId, digest);
      return reply.code(204).send();
    }),
  );
  app.get<BlobParams>('/v1/node/blobs/:digest', (request, reply) =>
    during(request, reply, (nodeId, digest) => get(dependencies, reply, nodeId, digest)),
  );
}

async function put(
  dependencies: BlobDependencies,
  request: FastifyRequest,
  nodeId: NodeId,
  digest: string,
): Promise<void> {
  const {
    database,
    blobs,
    blobBytesMax: largestBytes = BLOB_BYTES_MAX,
    blobQuotaBytes: quotaBytes = QUOTA_BYTES,
    blobTotalBytes: totalBytes = TOTAL_BYTES,
  } = dependencies;
  if (!(await mayPutBlobs(database, nodeId))) throw new CodedError('edge.forbidden');
  const leftBytes = Math.min(
    quotaBytes - (await keptBytes(database, nodeId, digest)),
    totalBytes - (await allKeptBytes(database, digest)),
  );
  const limits = {
    bytesMax: Math.min(largestBytes, leftBytes),
    tooLarge: leftBytes < largestBytes ? 'blob.quota_exceeded' : 'blob.too_large',
    idleMsMax: SILENT_MS_MAX,
    totalMsMax: TRANSFER_MS_MAX,
  } as const;
  const incoming = await blobs.take(readBody(request.raw, limits));
  try {
    if (incoming.digest !== digest) throw new CodedError('blob.digest_mismatch');
    const { bytes } = incoming;
    const isKept = await putBlob(
      database,
      { digest, nodeId, bytes, seconds: KEPT_SECONDS, quotaBytes, totalBytes },
      () => incoming.keep(),
    );
    if (!isKept) throw new CodedError('blob.quota_exceeded');
  } finally {
    await incoming.discard();
  }
}

async function get(
  { database, blobs }: BlobDependencies,
  reply: FastifyReply,
  nodeId: NodeId,
  digest: string,
): Promise<FastifyReply> {
  const readable = await readableBlob(database, digest, nodeId);
  const bytes = readable && (await blobs.open(digest, readable.bytes));
  if (!bytes) throw new CodedError('blob.not_found');
  const late = setTimeout(() => reply.raw.destroy(), TRANSFER_MS_MAX).unref();
  reply.raw.once('close', () => clearTimeout(late));
  return reply
    .header('content-length', readable.bytes)
    .type('application/octet-stream')
    .send(bytes);
}

/** Takes away what is kept for nobody any more, and what was never whole. */
export async function sweepBlobs({
  database,
  blobs,
}: Pick<BlobDependencies, 'database' | 'blobs'>): Promise<void> {
  await blobs.tidy(2 * TRANSFER_MS_MAX);
  await forgetBlobs(database, (digest) => blobs.remove(digest), FORGOTTEN_MAX);
}
