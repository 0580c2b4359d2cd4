import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { RequesterKey } from '../protocol/receive.ts';
import type { Channel, NodeClaims } from './channel.ts';

const HEARTBEAT_MS = 2_000;
const RETRY_MS = 1_000;

/** What a node's loops log to. */
export interface Log {
  info(message: string): void;
  warn(fields: object, message: string): void;
}

export interface Membership {
  returnKey(): RequesterKey;
  /** Also opens the command stream; another one after each registration. */
  heartbeatToken(): string;
  /** Stops the heartbeats: the node gets no new work once it counts as offline. */
  leave(): Promise<void>;
}

/**
 * Registers a node and keeps it registered: heartbeats, and a new registration whenever the
 * coordinator doesn't know it any more or `claims` changed. A coordinator that is away is waited
 * for, for ever, since an operator's machine must come back by itself.
 *
 * @param isReady while it says no there are no heartbeats, so the node soon counts as offline.
 */
export async function joinNetwork(
  channel: Channel,
  claims: () => NodeClaims,
  log: Log,
  isReady: () => boolean = () => true,
): Promise<Membership> {
  const left = new AbortController();
  let claimed = claims();
  let current = await register();

  async function register() {
    for (;;) {
      try {
        claimed = claims();
        const membership = await channel.register(claimed);
        log.info('node // registered');
        return membership;
      } catch (error) {
        log.warn({ error: String(error) }, 'node // not registered, will try again');
        await sleep(RETRY_MS, undefined, { signal: left.signal });
      }
    }
  }

  async function beat(): Promise<void> {
    let away = false;
    for (;;) {
      await sleep(HEARTBEAT_MS, undefined, { signal: left.signal });
      if (!isReady()) continue;
      try {
        // The backend may have come back as another version: what is claimed has to stay true.
        const changed = !isDeepStrictEqual(claims(), claimed);
        if (changed || !(await channel.heartbeat(current.heartbeatToken)))
          current = await register();
        if (away) log.info('node // the coordinator is back');
        away = false;
      } catch (error) {
        if (left.signal.aborted) return;
        // Said once per outage, not every two seconds.
        if (!away) log.warn({ error: String(error) }, 'node // the coordinator is away');
        away = true;
      }
    }
  }

  const beating = beat().catch((error: unknown) => {
    if (!left.signal.aborted) throw error;
  });
  return {
    returnKey: () => current.returnKey,
    heartbeatToken: () => current.heartbeatToken,
    async leave() {
      left.abort();
      await beating;
    },
  };
}
