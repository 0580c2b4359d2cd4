import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { isRequestId } from '../protocol/ids.ts';
import type { IntakeEvent } from '../protocol/intake.ts';
import type { IntakeCall } from '../protocol/receive.ts';
import { codedError } from './context.ts';
import type { GatewayMetrics } from './metrics.ts';
import type { OnDisconnect } from './own-fields.ts';
import { intakeEvents, type RequestEvent, type RequestSource } from './request-events.ts';
import { cancelRequest } from './run-client.ts';

/** How long a coordinator may be away, and still hears of a caller who hung up. */
const CANCEL_MS_MAX = 120_000;
const CANCEL_RETRY_MS = 500;
/** A gateway that stops waits so long for cancellations that are under way. */
const CLOSE_MS_MAX = 2_000;

/** One caller who reads what comes of a request. */
export interface Reader {
  /** There is nothing to cancel any more: the request has its outcome. */
  readonly answered: () => void;
  /** It reads no further; only the first call counts. */
  readonly leave: () => void;
}

interface Read {
  readers: number;
  /** Whether the call that made the request wants it to end with its readers. */
  mayCancel: boolean;
  /** Whether somebody wants it to go on. */
  isKept: boolean;
  isAnswered: boolean;
}

/**
 * Who of this gateway reads which request. When the last reader of one has gone before its answer,
 * and whoever made it wanted that, it is cancelled: at the coordinator, and from there at the node.
 */
export class Readers {
  readonly #source: RequestSource;
  readonly #log: Logger;
  readonly #metrics: GatewayMetrics;
  readonly #reads = new Map<string, Read>();
  readonly #cancelling = new Set<Promise<void>>();
  readonly #closing = new AbortController();

  constructor(source: RequestSource, log: Logger, metrics: GatewayMetrics) {
    this.#source = source;
    this.#log = log;
    this.#metrics = metrics;
  }

  /** @param wish of a call; null for who has no say, and only keeps it going by being there. */
  join(requestId: string, wish: OnDisconnect | null): Reader {
    const read = this.#reads.get(requestId) ?? {
      readers: 0,
      mayCancel: false,
      isKept: false,
      isAnswered: false,
    };
    this.#reads.set(requestId, read);
    read.readers += 1;
    read.mayCancel ||= wish === 'cancel';
    read.isKept ||= wish === 'continue';
    let isThere = true;
    return {
      answered: () => void (read.isAnswered = true),
      leave: () => {
        if (isThere) this.#left(requestId, read);
        isThere = false;
      },
    };
  }

  /**
   * From now on nobody who goes has hung up: it is this gateway that goes. Waits a little for
   * cancellations that are under way.
   */
  async close(): Promise<void> {
    this.#closing.abort();
    const patience = new AbortController();
    await Promise.race([
      Promise.all(this.#cancelling),
      sleep(CLOSE_MS_MAX, undefined, { signal: patience.signal }).catch(() => {}),
    ]);
    patience.abort();
  }

  #left(requestId: string, read: Read): void {
    read.readers -= 1;
    if (read.readers > 0) return;
    this.#reads.delete(requestId);
    const { mayCancel, isKept, isAnswered } = read;
    if (!mayCancel || isKept || isAnswered || this.#closing.signal.aborted) return;
    const cancelling = this.#cancel(requestId);
    this.#cancelling.add(cancelling);
    void cancelling.finally(() => this.#cancelling.delete(cancelling));
  }

  /** Until a coordinator has heard of it, or it is too late. */
  async #cancel(requestId: string): Promise<void> {
    if (!isRequestId(requestId)) return;
    const { signal } = this.#closing;
    const untilMs = Date.now() + CANCEL_MS_MAX;
    this.#log.info({ request: requestId }, 'gateway // its caller hung up: cancelling');
    for (;;) {
      try {
        await cancelRequest(this.#source, requestId);
        this.#metrics.hangUpCancelled();
        return;
      } catch (error) {
        const { code } = codedError(error);
        // It was faster.
        if (code === 'gateway.request_ended' || code === 'gateway.request_not_found') return;
        if (Date.now() > untilMs || signal.aborted) {
          this.#log.warn({ request: requestId, code }, 'gateway // not cancelled: it runs on');
          return;
        }
      }
      await sleep(CANCEL_RETRY_MS, undefined, { signal }).catch(() => {});
    }
  }
}

/**
 * What comes of an intake call, for a caller who may hang up at any time: also before it is known
 * whether its request was accepted. If it may have been, that is then waited for, so that no
 * request is left behind that nobody knows of.
 *
 * @param gone aborted when the caller has hung up.
 * @throws what `intakeEvents` throws, or the reason of `gone`.
 */
export async function* eventsForCaller(
  dependencies: RequestSource & { readonly readers: Readers },
  call: IntakeCall,
  onDisconnect: OnDisconnect,
  gone: AbortSignal,
): AsyncGenerator<RequestEvent> {
  gone.throwIfAborted();
  let reader: Reader | undefined;
  const over = new AbortController();
  const hangUp = () => {
    if (!reader) return;
    reader.leave();
    over.abort(gone.reason);
  };
  gone.addEventListener('abort', hangUp);
  try {
    for await (const event of intakeEvents(dependencies, call, over.signal, gone)) {
      if (event.type === 'accepted' && !reader) {
        reader = dependencies.readers.join(event.requestId, wishOf(call, event, onDisconnect));
        gone.throwIfAborted();
      }
      if (event.type === 'outcome') reader?.answered();
      yield event;
    }
  } finally {
    gone.removeEventListener('abort', hangUp);
    reader?.leave();
    over.abort();
  }
}

/**
 * What comes of a request for a reader who didn't make it, and has no say in what becomes of it: it
 * isn't cancelled while somebody reads it.
 */
export async function* eventsForReader(
  { readers }: { readonly readers: Readers },
  requestId: string,
  events: AsyncIterable<RequestEvent>,
  gone: AbortSignal,
): AsyncGenerator<RequestEvent> {
  const reader = readers.join(requestId, null);
  gone.addEventListener('abort', reader.leave);
  try {
    yield* events;
  } finally {
    gone.removeEventListener('abort', reader.leave);
    reader.leave();
  }
}

/** Who joins a request didn't make it, so it doesn't end it either. */
function wishOf(
  { bodyDigest }: IntakeCall,
  { isJoined = false }: Extract<IntakeEvent, { type: 'accepted' }>,
  onDisconnect: OnDisconnect,
): OnDisconnect | null {
  // Without a key it joins what it made itself, before a connection broke.
  const isAnothers = isJoined && bodyDigest !== undefined;
  return isAnothers && onDisconnect === 'cancel' ? null : onDisconnect;
}
