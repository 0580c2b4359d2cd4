import type { FastifyRequest } from 'fastify';

/** What a request presents as `authorization: Bearer …`; empty if it presents nothing such. */
export function bearerToken({ headers }: Pick<FastifyRequest, 'headers'>): string {
  return /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1] ?? '';
}
