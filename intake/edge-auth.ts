import type { FastifyRequest } from 'fastify';
import { sameSecret } from '../crypto/channel.ts';
import { CodedError } from '../protocol/errors.ts';
import { bearerToken } from './bearer.ts';

/**
 * Lets edges through, and nobody else: they have authenticated the node that a path names, so what
 * they say of it is believed.
 *
 * @param edgeToken what edges present as `authorization: Bearer …`.
 * @throws CodedError `edge.unauthenticated`.
 */
export function assertEdge(request: Pick<FastifyRequest, 'headers'>, edgeToken: string): void {
  if (!sameSecret(bearerToken(request), edgeToken)) throw new CodedError('edge.unauthenticated');
}
