import { createHash } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import type { Database } from '../prisma/client.ts';
import { CodedError } from '../protocol/errors.ts';
import type { ChatDependencies } from './chat.ts';
import type { StreamPace } from './sse.ts';

/** What all routes of the gateway work with. */
export interface GatewayDependencies extends ChatDependencies {
  /** Of streams to readers; by default as documented. */
  readonly pace?: StreamPace;
  /** Where people look at runs, without a trailing slash; null hides the links. */
  readonly temporalUiUrl: string | null;
  readonly temporalNamespace: string;
  readonly log: Logger;
}

/** Whom an API key belongs to. */
export interface Caller {
  readonly accountId: string;
  /** Whether the key may decide on nodes, and see what is of all accounts. */
  readonly isAdmin: boolean;
}

/**
 * The account that a request's API key belongs to.
 *
 * @throws CodedError `receive.unauthorized`
 */
export async function authenticate(database: Database, request: FastifyRequest): Promise<string> {
  return (await identify(database, request)).accountId;
}

/**
 * The account of an admin's key.
 *
 * @throws CodedError `receive.unauthorized` or `gateway.admin_required`.
 */
export async function authenticateAdmin(
  database: Database,
  request: FastifyRequest,
): Promise<string> {
  const { accountId, isAdmin } = await identify(database, request);
  if (!isAdmin) throw new CodedError('gateway.admin_required');
  return accountId;
}

/** @throws CodedError `receive.unauthorized` */
export async function identify(database: Database, request: FastifyRequest): Promise<Caller> {
  const key = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1];
  if (!key) throw new CodedError('receive.unauthorized', 'Send it as: Authorization: Bearer KEY.');
  const keyHash = createHash('sha256').update(key).digest('hex');
  const [found] = await database.$queryRaw<Caller[]>`
    SELECT account_id AS "accountId", is_admin AS "isAdmin" FROM api_key
    WHERE key_hash = ${keyHash}`;
  if (!found) throw new CodedError('receive.unauthorized');
  return found;
}

/** The failure as the API tells it; what has no code is a bug or an outage of ours. */
export function codedError(error: unknown): CodedError {
  if (error instanceof CodedError) return error;
  if (error instanceof Error && 'statusCode' in error) {
    if (error.statusCode === 413) return new CodedError('receive.payload_too_large');
    if (Number(error.statusCode) < 500)
      return new CodedError('receive.malformed_request', error.message);
  }
  return new CodedError('coordinator.internal', undefined, { cause: error });
}
