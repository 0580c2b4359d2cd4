import type { NodeId } from '../protocol/ids.ts';
import { inTransaction, type Database, type Transaction } from './client.ts';

/** Data that a node brought. */
export interface PutBlob {
  /** `sha256:` and 64 hex digits. */
  readonly digest: string;
  readonly nodeId: NodeId;
  readonly bytes: number;
  /** How long it is kept for the node, from now on. */
  readonly seconds: number;
  /** What all that the node has brought, and that is kept for it, may have together. */
  readonly quotaBytes: number;
  /** What is kept for all nodes may have together. */
  readonly totalBytes: number;
}

/** What a file takes at least, however little is in it. */
const FILE_BYTES_MIN = 4_096;

/**
 * Notes that a node brought a blob; the same one again is kept for longer.
 *
 * @param place puts the bytes where they are found, once it is sure that they are kept. Nobody else
 *   adds or removes the same blob meanwhile.
 * @returns whether it was within the node's quota, and within that of all; otherwise nothing was
 *   done.
 */
export function putBlob(
  database: Database,
  { digest, nodeId, bytes, seconds, quotaBytes, totalBytes }: PutBlob,
  place: () => Promise<void>,
): Promise<boolean> {
  return inTransaction(database, async (transaction) => {
    // A quota can't be had twice by asking at the same time.
    await transaction.$queryRaw`
      SELECT pg_advisory_xact_lock(hashtextextended(${`blob ${nodeId}`}, 0))::text`;
    const fileBytes = Math.max(bytes, FILE_BYTES_MIN);
    if ((await keptBytes(transaction, nodeId, digest)) + fileBytes > quotaBytes) return false;
    // The same for what all have together; always in this order.
    await transaction.$queryRaw`
      SELECT pg_advisory_xact_lock(hashtextextended('blobs', 0))::text`;
    if ((await allKeptBytes(transaction, digest)) + fileBytes > totalBytes) return false;
    await transaction.$executeRaw`
      INSERT INTO blob (digest, bytes) VALUES (${digest}, ${bytes}::bigint)
      ON CONFLICT (digest) DO UPDATE SET bytes = EXCLUDED.bytes`;
    await hold(transaction, { digest, nodeId, kind: 'put', seconds });
    await place();
    return true;
  });
}

/** What is kept for a node that it brought, as files have it, without the blob of that digest. */
export async function keptBytes(
  database: Pick<Transaction, '$queryRaw'>,
  nodeId: NodeId,
  digest: string,
): Promise<number> {
  const [kept] = await database.$queryRaw<{ bytes: number }[]>`
    SELECT coalesce(sum(greatest(bytes, ${FILE_BYTES_MIN}::bigint)), 0)::float8 AS bytes
    FROM blob_holder JOIN blob USING (digest)
    WHERE node_id = ${nodeId} AND kind = 'put' AND expires_at > now() AND digest <> ${digest}`;
  return kept?.bytes ?? 0;
}

/** What is kept for anyone, as files have it, without the blob of that digest. */
export async function allKeptBytes(
  database: Pick<Transaction, '$queryRaw'>,
  digest: string,
): Promise<number> {
  const [kept] = await database.$queryRaw<{ bytes: number }[]>`
    SELECT coalesce(sum(greatest(bytes, ${FILE_BYTES_MIN}::bigint)), 0)::float8 AS bytes
    FROM blob WHERE digest <> ${digest}`;
  return kept?.bytes ?? 0;
}

/** Whether a node is registered, and wasn't removed: certificates alone may be free. */
export async function mayPutBlobs(
  database: Pick<Transaction, '$queryRaw'>,
  nodeId: NodeId,
): Promise<boolean> {
  const [node] = await database.$queryRaw<object[]>`
    SELECT id FROM node WHERE id = ${nodeId} AND status <> 'removed'`;
  return node !== undefined;
}

/**
 * Lets another node read a blob for so long; a later grant may only lengthen it.
 *
 * @returns whether there is such a blob.
 */
export function grantBlob(
  database: Database,
  digest: string,
  nodeId: NodeId,
  seconds: number,
): Promise<boolean> {
  return inTransaction(database, async (transaction) => {
    const [blob] = await transaction.$queryRaw<object[]>`
      SELECT digest FROM blob WHERE digest = ${digest} FOR KEY SHARE`;
    if (!blob) return false;
    await hold(transaction, { digest, nodeId, kind: 'granted', seconds });
    return true;
  });
}

interface Hold {
  readonly digest: string;
  readonly nodeId: NodeId;
  readonly kind: 'put' | 'granted';
  readonly seconds: number;
}

async function hold(
  transaction: Transaction,
  { digest, nodeId, kind, seconds }: Hold,
): Promise<void> {
  await transaction.$executeRaw`
    INSERT INTO blob_holder (digest, node_id, kind, expires_at)
    VALUES (${digest}, ${nodeId}, ${kind}, now() + make_interval(secs => ${seconds}::float8))
    ON CONFLICT (digest, node_id, kind) DO UPDATE
      SET expires_at = greatest(blob_holder.expires_at, EXCLUDED.expires_at)`;
}

/**
 * The size of a blob, for a node that may read it.
 *
 * @returns undefined when there is none, or the node may not: the same for both.
 */
export async function readableBlob(
  database: Pick<Transaction, '$queryRaw'>,
  digest: string,
  nodeId: NodeId,
): Promise<{ readonly bytes: number } | undefined> {
  const [blob] = await database.$queryRaw<{ bytes: number }[]>`
    SELECT bytes::float8 AS bytes FROM blob
    WHERE digest = ${digest} AND EXISTS (
      SELECT FROM blob_holder
      WHERE blob_holder.digest = blob.digest AND node_id = ${nodeId} AND expires_at > now())`;
  return blob;
}

/**
 * Forgets blobs that nobody may read any more.
 *
 * @param remove takes the bytes away; nobody adds the same blob meanwhile.
 * @param limit how many at most.
 * @returns how many.
 */
export function forgetBlobs(
  database: Database,
  remove: (digest: string) => Promise<void>,
  limit: number,
): Promise<number> {
  return inTransaction(database, async (transaction) => {
    await transaction.$executeRaw`DELETE FROM blob_holder WHERE expires_at < now()`;
    const forgotten = await transaction.$queryRaw<{ digest: string }[]>`
      DELETE FROM blob WHERE digest IN (
        SELECT digest FROM blob
        WHERE NOT EXISTS (SELECT FROM blob_holder WHERE blob_holder.digest = blob.digest)
        ORDER BY digest LIMIT ${limit}::int FOR UPDATE SKIP LOCKED)
      RETURNING digest`;
    for (const { digest } of forgotten) await remove(digest);
    return forgotten.length;
  });
}
