import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { CodedError } from '../protocol/errors.ts';
import { openedEvents, type ChatEvent } from './chat.ts';
import { authenticate, type GatewayDependencies } from './context.ts';
import { eventsForReader } from './disconnect.ts';
import { MalformedRequestError } from './errors.ts';
import { hungUp } from './open-call.ts';
import { parseQuery, wholeNumber } from './query.ts';
import { followedEvents } from './request-events.ts';
import { ownRequest, type IdParams } from './request-routes.ts';
import { formatOf } from './stream-format.ts';
import { streamed } from './stream.ts';

const NUMBER_MAX = 1_000_000_000;
const flag = z.enum(['true', 'false']).optional();

export const resumeQuery = z.strictObject({
  starting_after: wholeNumber(0, NUMBER_MAX).optional(),
  attempt: wholeNumber(1, NUMBER_MAX).optional(),
  include_usage: flag,
  include_verification: flag,
});

/**
 * `GET /v1/requests/{id}/stream`: the stream of a request behind any of its numbers, whether it is
 * running or has ended, through whichever gateway, and whether it was made with `stream` or not.
 */
export function resumeRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  // Nothing of it can be said without its body.
  app.get<IdParams>(
    '/v1/requests/:id/stream',
    { exposeHeadRoute: false },
    async (request, reply) => {
      const { accountId } = await authenticate(dependencies.database, request, 'read');
      const query = parseQuery(resumeQuery, request.query);
      const after = query.starting_after ?? lastEventId(request) ?? -1;
      const record = await ownRequest(dependencies, accountId, request.params.id);
      const { id, parameters, acceptedAt } = record;
      const gone = hungUp(reply);
      const untilEnd = query.include_verification === 'true';
      const { deadlineSeconds, stream: isStreamed } = parameters;
      const acceptedAtMs = acceptedAt.getTime();
      const followed = { requestId: id, acceptedAtMs, untilEnd, deadlineSeconds, isStreamed };
      const followedOn = followedEvents(dependencies, followed, gone);
      const events = eventsForReader(dependencies, id, followedOn, gone);
      const opened = openedEvents(dependencies.requesterRing, events, true);
      const had = isStreamed && after > 0 ? (query.attempt ?? 1) : null;
      const reading = {
        head: { id, created: Math.floor(acceptedAtMs / 1_000), model: parameters.model },
        format: formatOf(parameters),
        after,
        includeUsage: query.include_usage === 'true',
        untilEnd,
      };
      return streamed(reply, reading, had === null ? opened : goingOn(opened, had), dependencies);
    },
  );
}

/** What browsers send by themselves when they connect again: the last `id:` that they got. */
function lastEventId({ headers }: FastifyRequest): number | undefined {
  const sent = headers['last-event-id'];
  if (sent === undefined || sent === '') return undefined;
  if (typeof sent !== 'string' || !/^\d{1,9}$/.test(sent))
    throw new MalformedRequestError('Last-Event-ID', 'is not a number of the stream');
  return Number(sent);
}

/**
 * A reader who has provisional text of one attempt can't be given the rest of another one's: nobody
 * knows whether they begin alike.
 *
 * @param had the attempt whose text the reader had last.
 * @throws CodedError `gateway.stream_superseded`
 */
async function* goingOn(events: AsyncIterable<ChatEvent>, had: number): AsyncGenerator<ChatEvent> {
  let isChecked = false;
  for await (const event of events) {
    if (!isChecked && (event.kind === 'delta' || event.kind === 'result')) {
      if (event.attempt !== had)
        throw new CodedError('gateway.stream_superseded', `Attempt ${event.attempt} replaced it.`);
      isChecked = true;
    }
    yield event;
  }
}
