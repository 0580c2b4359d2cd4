import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import type { Database } from '../prisma/client.ts';
import { readRequest } from '../prisma/requests.ts';
import { codedError, type GatewayDependencies } from './context.ts';
import { MalformedRequestError } from './errors.ts';
import { openCall, type OpenedCall } from './open-call.ts';
import { deliveryOf } from './inference-request.ts';
import { parseChatRequest, type ChatRequest } from './openai.ts';
import { temporalUrl } from './request-view.ts';

const PATH = '/v1/requests';
/** So long a run may still come, while Temporal is away. */
const PENDING_MS_MAX = 120_000;
const LOOK_MS = 500;

/** `POST /v1/requests`: a chat request whose caller doesn't wait for the answer. */
export function submitRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  const open = new Set<AbortController>();
  app.addHook('preClose', async () => {
    for (const over of open) over.abort();
  });
  app.post(PATH, async (request, reply) => {
    const over = new AbortController();
    open.add(over);
    const called = openCall(dependencies, {
      route: PATH,
      request,
      reply,
      parse: parseSubmission,
      gone: over.signal,
    });
    called
      .then((opened) => leave(opened, dependencies, over))
      .catch(() => {})
      .finally(() => open.delete(over));
    const { chat, requestId: id } = await called;
    reply.code(202).header('location', `${PATH}/${id}`);
    return {
      id,
      object: 'request',
      status: 'accepted',
      workload_class: chat.workload_class,
      model: chat.model,
      hardware_tier: chat.hardware_tier,
      priority: chat.priority,
      deadline_seconds: chat.deadline_seconds,
      delivery: deliveryOf(chat),
      temporal_url: temporalUrl(id, dependencies),
    };
  });
}

/** A chat request, without what only makes sense for somebody who listens. */
function parseSubmission(body: unknown): ChatRequest {
  const chat = parseChatRequest(body);
  if (chat.stream) throw new MalformedRequestError('stream', 'nobody listens: use chat');
  if (chat.on_disconnect === 'cancel')
    throw new MalformedRequestError('on_disconnect', 'nobody stays: it always continues');
  return { ...chat, on_disconnect: 'continue' };
}

/**
 * Leaves the intake call, since nobody waits for what comes of the request: that is in its record.
 * While its run isn't known to be there it stays, so that the call is repeated if the coordinator
 * is killed before it has started it.
 */
async function leave(
  { events, requestId, isPending }: OpenedCall<ChatRequest>,
  { database, log }: GatewayDependencies,
  over: AbortController,
): Promise<void> {
  if (isPending) void runsOrNever(database, requestId, over.signal).then(() => over.abort());
  try {
    if (!isPending) await events.return(undefined);
    while (!(await events.next()).done);
  } catch (error) {
    // It was left, or the gateway stops; the request goes on.
    if (over.signal.aborted) return;
    const { code } = codedError(error);
    log.info({ request: requestId, code }, 'gateway // a submitted request has no result');
  } finally {
    over.abort();
  }
}

/** Until its record shows that it runs, or it has been too long. Never rejects. */
async function runsOrNever(
  database: Database,
  requestId: string,
  signal: AbortSignal,
): Promise<void> {
  const untilMs = performance.now() + PENDING_MS_MAX;
  while (performance.now() < untilMs && !signal.aborted) {
    const record = await readRequest(database, requestId).catch(() => undefined);
    if (record && record.status !== 'accepted') return;
    await sleep(LOOK_MS, undefined, { signal }).catch(() => {});
  }
}
