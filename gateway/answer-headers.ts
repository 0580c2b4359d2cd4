import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { readAnswerFacts, type AnswerFacts } from '../prisma/answers.ts';
import type { Database } from '../prisma/client.ts';

/** Of HTTP: it is under way. */
const ACCEPTED = 202;

/**
 * Headers of an answer: who computed it, in how many attempts, at what price.
 *
 * @param totalMs that the call took; with it the answer says how much of that was added by the
 *   network: all but the execution, which is the node's word and so bounded.
 */
export function answerHeaders(
  { attempts, node, costWei, executionMs }: AnswerFacts,
  totalMs?: number,
): Readonly<Record<string, string>> {
  return {
    'x-plx-attempts': String(attempts),
    'x-plx-cost-wei': costWei,
    ...(node === null ? {} : { 'x-plx-node': node }),
    ...(totalMs === undefined || executionMs === null
      ? {}
      : { 'x-plx-overhead-ms': Math.max(0, totalMs - Math.max(0, executionMs)).toFixed(1) }),
  };
}

/**
 * Gives the headers to each answer that has an `x-request-id`, whatever route it is of and whether
 * the request failed; what was only just accepted has none of them yet. An answer isn't held back
 * because they can't be had. Streams send theirs before anything is known.
 */
export function addAnswerHeaders(
  app: FastifyInstance,
  { database, log }: { readonly database: Database; readonly log: Logger },
): void {
  // Fastify measures by itself for routes with certain hooks only.
  const receivedAtMs = new WeakMap<object, number>();
  app.addHook('onRequest', async (request) => void receivedAtMs.set(request, performance.now()));
  app.addHook('onSend', async (request, reply, payload) => {
    const requestId = reply.getHeader('x-request-id');
    if (typeof requestId !== 'string' || reply.statusCode === ACCEPTED) return payload;
    try {
      const facts = await readAnswerFacts(database, requestId);
      // Looking at a request takes the time of looking.
      const beganMs = request.method === 'POST' ? receivedAtMs.get(request) : undefined;
      const totalMs = beganMs === undefined ? undefined : performance.now() - beganMs;
      if (facts) reply.headers(answerHeaders(facts, totalMs));
    } catch (error) {
      log.warn({ request: requestId, error: String(error) }, 'gateway // no headers for it');
    }
    return payload;
  });
}
