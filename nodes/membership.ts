import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Challenge, Heartbeat, RunningAttempt } from '../protocol/presence.ts';
import type { RequesterKey } from '../protocol/receive.ts';
import type { Channel, HeartbeatAnswer, NodeClaims } from './channel.ts';
import {
  connectionAdvice,
  describe,
  EdgeRefusal,
  isUnreachable,
  Reasons,
  registrationAdvice,
} from './edge-trouble.ts';

const HEARTBEAT_MS = 2_000;
const RETRY_MS = 1_000;
/** While it is refused. */
const RETRY_MS_MAX = 30_000;
/** While nobody answers: less than a heartbeat costs, and the node is soon back with the edge. */
const OUTAGE_RETRY_MS_MAX = 5_000;
/** Answered for one heartbeat. */
const CHALLENGES_MAX = 3;

const REVIEW =
  'It gets no more work. Look for failing memory, another build, other weights or settings; then ' +
  'ask the network for a review: docs/verification.md. Its stake is not touched.';

/** What a node's loops log to. */
export interface Log {
  info(message: string): void;
  warn(fields: object, message: string): void;
}

export interface Membership {
  returnKey(): RequesterKey;
  /** Whether the node is in the pool, as far as it was told. */
  isInPool(): boolean;
  /**
   * Says that the node takes nothing new; the heartbeats go on.
   *
   * @returns what it was given and is undecided; nothing when the coordinator is away.
   */
  drain(): Promise<readonly RunningAttempt[]>;
  /** Stops the heartbeats and says goodbye: the node is offline at once. */
  leave(): Promise<void>;
}

/**
 * Registers a node and keeps it registered: heartbeats, and a new registration whenever the
 * coordinator doesn't know it any more or `claims` changed. A coordinator that is away is waited
 * for, for ever, since an operator's machine must come back by itself.
 *
 * @param state what each heartbeat says: a node that isn't ready gets no new work.
 * @param heartbeatMs between two of them, 2,000 by default: what the network expects.
 */
export async function joinNetwork(
  channel: Channel,
  claims: () => NodeClaims,
  log: Log,
  state: () => Heartbeat,
  heartbeatMs = HEARTBEAT_MS,
): Promise<Membership> {
  const left = new AbortController();
  let draining = false;
  const removal = new Removal(log);
  let claimed = claims();
  const heartbeats = new Heartbeats(channel, state);
  let current = await register();

  async function register() {
    const reasons = new Reasons();
    for (let retryMs = RETRY_MS; ; retryMs *= 2) {
      try {
        claimed = claims();
        const registration = await channel.register(claimed);
        heartbeats.expect(registration.challenge);
        // A registration ends the draining; so it is said again.
        if (draining) await channel.drain();
        log.info('node // registered');
        return registration;
      } catch (error) {
        if (reasons.isNew(error))
          log.warn(troubleOf(error, channel.nodeId), 'node // not registered, will try again');
        const isOutage = !(error instanceof EdgeRefusal) || error.code === 'edge.unavailable';
        retryMs = Math.min(retryMs, isOutage ? OUTAGE_RETRY_MS_MAX : RETRY_MS_MAX);
        await sleep(retryMs, undefined, { signal: left.signal });
      }
    }
  }

  async function beat(): Promise<void> {
    let outage: Outage | undefined;
    // The first one at once: whether it is ready isn't known from its registration.
    for (; ; await sleep(heartbeatMs, undefined, { signal: left.signal })) {
      try {
        // The backend may have come back as another version: what is claimed has to stay true.
        const changed = !draining && !isDeepStrictEqual(claims(), claimed);
        if (changed) current = await register();
        const answer = await heartbeats.answer();
        const { isKnown, returnKey = current.returnKey.x } = answer;
        if (!isKnown || returnKey !== current.returnKey.x) current = await register();
        removal.tell(answer);
        outage?.end();
        outage = undefined;
      } catch (error) {
        if (left.signal.aborted) return;
        (outage ??= new Outage(log)).tell(error);
      }
    }
  }

  const beating = beat().catch((error: unknown) => {
    if (!left.signal.aborted) throw error;
  });
  return {
    returnKey: () => current.returnKey,
    isInPool: () => removal.code === undefined,
    async drain() {
      draining = true;
      return (await part(log, 'draining', () => channel.drain())) ?? [];
    },
    async leave() {
      left.abort();
      await beating;
      await part(log, 'left', () => channel.leave());
    },
  };
}

/** Answers one challenge after the other. */
class Heartbeats {
  readonly #channel: Channel;
  readonly #state: () => Heartbeat;
  #challenge: Challenge | undefined;

  constructor(channel: Channel, state: () => Heartbeat) {
    this.#channel = channel;
    this.#state = state;
  }

  /** Has the next one answer this. */
  expect(challenge: Challenge): void {
    this.#challenge = challenge;
  }

  /** An answer that was lost on its way back left a challenge of the past: then once more. */
  async answer(): Promise<HeartbeatAnswer> {
    for (let times = 0; this.#challenge && times < CHALLENGES_MAX; times++) {
      const answer = await this.#channel.heartbeat(this.#challenge, this.#state());
      this.#challenge = answer.challenge ?? this.#challenge;
      if (!answer.isReplayed) return answer;
    }
    throw new Error('somebody else answers its challenges: is there a node with the same keys?');
  }
}

/** Says who is away once per reason, not every two seconds, and that they are back. */
class Outage {
  readonly #log: Log;
  readonly #reasons = new Reasons();
  #isOfEdge = false;

  constructor(log: Log) {
    this.#log = log;
  }

  tell(error: unknown): void {
    if (!this.#reasons.isNew(error)) return;
    this.#isOfEdge = isUnreachable(error);
    const text = this.#isOfEdge ? 'the edge can not be reached' : 'the coordinator is away';
    this.#log.warn({ error: describe(error) }, `node // ${text}`);
  }

  end(): void {
    this.#log.info(`node // the ${this.#isOfEdge ? 'edge' : 'coordinator'} is back`);
  }
}

/** Says it once, and again when it is over: the operator has to hear it, and can do something. */
class Removal {
  readonly #log: Log;
  /** Why the node is out of the pool, if it is. */
  code: string | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  tell({ removed }: HeartbeatAnswer): void {
    if (removed?.code === this.code) return;
    this.code = removed?.code;
    if (removed)
      this.#log.warn({ ...removed, advice: REVIEW }, 'node // was removed from the pool');
    else this.#log.info('node // was let into the pool again');
  }
}

/** What is said in parting is lost without harm: silence says the same, later. */
async function part<T>(log: Log, what: string, work: () => Promise<T>): Promise<T | undefined> {
  try {
    const answer = await work();
    log.info(`node // ${what}`);
    return answer;
  } catch (error) {
    log.warn({ error: String(error) }, `node // ${what}, and the coordinator was not told`);
    return undefined;
  }
}

/** What an operator is told of a registration that failed. */
function troubleOf(error: unknown, nodeId: string): object {
  const advice = registrationAdvice(error, nodeId) ?? connectionAdvice(error);
  const said = error instanceof EdgeRefusal ? error.said : undefined;
  return { error: describe(error), ...(said && { said }), ...(advice && { advice }) };
}
