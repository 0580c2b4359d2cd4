import { z } from 'zod';
import type { CaRing } from '../crypto/ca.ts';
import {
  checkCertificateRequest,
  checkServerRequest,
  REQUEST_CHARACTERS_MAX,
} from '../crypto/certificate-requests.ts';
import {
  issueNodeCertificate,
  issueServerCertificate,
  type IssuedCertificate,
} from '../crypto/certificates.ts';
import type { Database } from '../prisma/client.ts';
import type { CertificateAnswer } from '../protocol/certificate-schema.ts';
import { CodedError } from '../protocol/errors.ts';
import type { NodeId } from '../protocol/ids.ts';
import { firstIssue } from '../protocol/issues.ts';
import { admitNode, type JoinPolicy } from './admission.ts';

/** How long after it expired a certificate is on record that is nobody's. */
const FORGOTTEN_DAYS = 30;
const FORGOTTEN_MAX = 1_000;
/** One node needs one in days; who starts all the time gets this many. */
const PER_NODE_AND_HOUR_MAX = 60;
const SERVER_NAMES_MAX = 20;

const csr = z.string().max(REQUEST_CHARACTERS_MAX);
const enrolmentSchema = z.strictObject({ csr, joinToken: z.string().max(200).optional() });
const renewalSchema = z.strictObject({ csr });
const serverSchema = z.strictObject({
  csr,
  names: z.array(z.string().max(253)).min(1).max(SERVER_NAMES_MAX),
});

export interface CertificateDependencies {
  readonly database: Database;
  readonly ca: () => Promise<CaRing>;
  /** How long a certificate is valid. */
  readonly certificateSeconds: number;
  readonly join: JoinPolicy;
}

/**
 * Issues a node's first certificate, or one after its last has ended.
 *
 * @param body `{csr, joinToken?}`, from a stranger.
 * @throws CodedError `node.certificate_refused` also when the request is of another node's key,
 * `node.join_refused`, `edge.node_removed`, or `edge.too_many`.
 */
export async function enrolNode(
  dependencies: CertificateDependencies,
  nodeId: NodeId,
  body: unknown,
): Promise<CertificateAnswer> {
  const request = parse(enrolmentSchema, body);
  const { database, join } = dependencies;
  return await certify(dependencies, nodeId, request.csr, () =>
    admitNode(database, join, nodeId, request.joinToken),
  );
}

/**
 * Renews a node's certificate.
 *
 * @param nodeId of the certificate with which it came.
 * @param body `{csr}`.
 * @throws CodedError as `enrolNode` does, but for the joining.
 */
export async function renewCertificate(
  dependencies: CertificateDependencies,
  nodeId: NodeId,
  body: unknown,
): Promise<CertificateAnswer> {
  return await certify(dependencies, nodeId, parse(renewalSchema, body).csr);
}

/**
 * Issues the server certificate of an edge.
 *
 * @param body `{csr, names}`: DNS names and IP addresses by which nodes call it.
 * @throws CodedError `node.certificate_refused`.
 */
export async function certifyEdge(
  { ca, certificateSeconds }: CertificateDependencies,
  body: unknown,
): Promise<CertificateAnswer> {
  const { csr: pem, names } = parse(serverSchema, body);
  const publicKey = checkServerRequest(pem);
  const ring = await ca();
  const issued = await issueServerCertificate(ring.issuer, publicKey, names, certificateSeconds);
  return answer(ring, issued);
}

async function certify(
  { database, ca, certificateSeconds }: CertificateDependencies,
  nodeId: NodeId,
  pem: string,
  admit: () => Promise<void> = async () => undefined,
): Promise<CertificateAnswer> {
  const request = checkCertificateRequest(pem);
  if (request.nodeId !== nodeId)
    throw new CodedError('node.certificate_refused', 'It is of the key of another node.');
  await assertMayHaveOne(database, nodeId);
  const ring = await ca();
  await admit();
  const issued = await issueNodeCertificate(
    ring.issuer,
    request.publicKey,
    nodeId,
    certificateSeconds,
  );
  // Before the node has it: whatever was issued is on record.
  await database.$executeRaw`
    INSERT INTO node_certificate (serial, node_id, expires_at)
    VALUES (${issued.serial}, ${nodeId}, ${new Date(issued.expiresAtMs)})`;
  return answer(ring, issued);
}

/**
 * Forgets what was issued, and has expired long since, to whoever never became a node: in an open
 * network anyone may have as many as they like. One that comes back is let in as if it were new.
 *
 * @returns how many in this round; the next one goes on.
 */
export async function forgetCertificates({
  database,
}: {
  readonly database: Database;
}): Promise<number> {
  return database.$executeRaw`
    DELETE FROM node_certificate WHERE serial IN (
      SELECT serial FROM node_certificate
      WHERE expires_at < now() - make_interval(days => ${FORGOTTEN_DAYS}::int)
        AND NOT EXISTS (SELECT FROM node WHERE node.id = node_certificate.node_id)
      LIMIT ${FORGOTTEN_MAX}::int)`;
}

async function assertMayHaveOne(database: Database, nodeId: NodeId): Promise<void> {
  const [known] = await database.$queryRaw<{ removed: boolean; issued: number }[]>`
    SELECT EXISTS (SELECT FROM node WHERE id = ${nodeId} AND status = 'removed') AS removed,
           (SELECT count(*)::int FROM node_certificate
            WHERE node_id = ${nodeId} AND issued_at > now() - interval '1 hour') AS issued`;
  if (known?.removed) throw new CodedError('edge.node_removed');
  if ((known?.issued ?? 0) >= PER_NODE_AND_HOUR_MAX)
    throw new CodedError('edge.too_many', 'It had enough certificates for an hour.');
}

function answer({ trusted }: CaRing, issued: IssuedCertificate): CertificateAnswer {
  const { certificate, expiresAtMs } = issued;
  const lifeMs = expiresAtMs - Date.now();
  return {
    certificate,
    ca: trusted,
    expiresAt: new Date(expiresAtMs).toISOString(),
    renewAt: new Date(expiresAtMs - Math.floor(lifeMs / 3)).toISOString(),
  };
}

function parse<Value>(schema: z.ZodType<Value>, body: unknown): Value {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw new CodedError('node.certificate_refused', firstIssue(parsed.error));
}
