import type { FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { apiKeyHash } from '../crypto/api-key.ts';
import { findKeyHolder, type KeyHolder } from '../prisma/api-keys.ts';
import type { Database } from '../prisma/client.ts';
import { CodedError } from '../protocol/errors.ts';
import type { Scope } from '../protocol/keys.ts';
import type { SignInTerms } from '../protocol/sign-in.ts';
import type { ChatDependencies } from './chat.ts';
import type { GatewayMetrics } from './metrics.ts';
import type { StreamPace } from './sse.ts';

/** What all routes of the gateway work with. */
export interface GatewayDependencies extends ChatDependencies {
  /** Of streams to readers; by default as documented. */
  readonly pace?: StreamPace;
  /** Where people look at runs, without a trailing slash; null hides the links. */
  readonly temporalUiUrl: string | null;
  readonly temporalNamespace: string;
  /** What messages by which accounts ask for keys have to name. */
  readonly signIn: SignInTerms;
  /** Addresses and networks of proxies whose `X-Forwarded-For` is believed; by default none. */
  readonly trustedProxies?: readonly string[];
  readonly metrics: GatewayMetrics;
  readonly log: Logger;
}

/** Who calls: an API key, and whom it belongs to. `keyId` is what the call is metered by. */
export type Caller = KeyHolder;

/**
 * The caller, by its API key. Each route names the scope that it needs.
 *
 * @throws CodedError `receive.unauthorized` or `gateway.scope_missing`.
 */
export async function authenticate(
  database: Database,
  request: FastifyRequest,
  scope: Scope,
): Promise<Caller> {
  const caller = await identify(database, request);
  if (!caller.scopes.includes(scope)) throw new CodedError('gateway.scope_missing', scope);
  return caller;
}

/**
 * The caller, by an admin's key.
 *
 * @throws CodedError `receive.unauthorized` or `gateway.admin_required`.
 */
export async function authenticateAdmin(
  database: Database,
  request: FastifyRequest,
): Promise<Caller> {
  const caller = await identify(database, request);
  if (!caller.isAdmin) throw new CodedError('gateway.admin_required');
  return caller;
}

const identified = new WeakMap<FastifyRequest, Caller>();

/** Looked up once for each call: before its body comes. */
async function identify(database: Database, request: FastifyRequest): Promise<Caller> {
  const known = identified.get(request);
  if (known) return known;
  const caller = await lookUp(database, request);
  identified.set(request, caller);
  return caller;
}

/** A key that has ended is as unknown as one that never was. */
async function lookUp(database: Database, request: FastifyRequest): Promise<Caller> {
  const key = /^Bearer ([\w.~+/-]+=*)$/.exec(request.headers.authorization ?? '')?.[1];
  if (!key) throw new CodedError('receive.unauthorized', 'Send it as: Authorization: Bearer KEY.');
  const found = await findKeyHolder(database, apiKeyHash(key));
  if (!found) throw new CodedError('receive.unauthorized');
  return found;
}

/** The failure as the API tells it; what has no code is a bug or an outage of ours. */
export function codedError(error: unknown): CodedError {
  if (error instanceof CodedError) return error;
  if (error instanceof Error && 'statusCode' in error) {
    if (error.statusCode === 415) return new CodedError('gateway.media_type_unsupported');
    if (error.statusCode === 413) return new CodedError('receive.payload_too_large');
    if (Number(error.statusCode) < 500)
      return new CodedError('receive.malformed_request', error.message);
  }
  return new CodedError('coordinator.internal', undefined, { cause: error });
}
