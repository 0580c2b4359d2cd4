import { createHash } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import type { Database } from '../prisma/client.ts';
import { CodedError } from '../protocol/errors.ts';
import type { ChatDependencies } from './chat.ts';

/** What all routes of the gateway work with. */
export interface GatewayDependencies extends ChatDependencies {
  readonly database: Database;
  /** Where people look at runs, without a trailing slash; null hides the links. */
  readonly temporalUiUrl: string | null;
  readonly temporalNamespace: string;
  readonly log: Logger;
}

/**
 * The account that a request's API key belongs to.
 *
 * @throws CodedError `receive.unauthorized`
 */
export async function authenticate(database: Database, request: FastifyRequest): Promise<string> {
  const key = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1];
  if (!key) throw new CodedError('receive.unauthorized', 'Send it as: Authorization: Bearer KEY.');
  const keyHash = createHash('sha256').update(key).digest('hex');
  const [found] = await database.$queryRaw<{ account_id: string }[]>`
    SELECT account_id FROM api_key WHERE key_hash = ${keyHash}`;
  if (!found) throw new CodedError('receive.unauthorized');
  return found.account_id;
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
