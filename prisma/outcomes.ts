import type { Transaction } from './client.ts';
import { listen, type NotificationHandler } from './notifications.ts';

/** Notifications on it carry a request's id: its row says something new. */
export const OUTCOME_CHANNEL = 'plx_outcome';

/** Tells every coordinator and gateway that a request's row says something new. */
export async function announceOutcome(transaction: Transaction, requestId: string): Promise<void> {
  await transaction.$queryRaw`SELECT pg_notify(${OUTCOME_CHANNEL}, ${requestId})::text`;
}

export interface OutcomeListener {
  /**
   * Calls `onNews` each time the request's row changed, and whenever notifications may have been
   * missed: so the caller reads the row, and never relies on the notification itself.
   *
   * @returns ends the subscription.
   */
  subscribe(requestId: string, onNews: () => void): () => void;
  close(): Promise<void>;
}

/**
 * Listens for outcomes, for all in this process who wait for a request. After a lost connection it
 * wakes everybody once because news may have passed meanwhile.
 *
 * @param others handlers of other channels that share the connection.
 */
export async function listenForOutcomes(
  url: string,
  onError: (error: Error) => void,
  others: readonly NotificationHandler[] = [],
): Promise<OutcomeListener> {
  const waiting = new Map<string, Set<() => void>>();
  const outcomes: NotificationHandler = {
    channel: OUTCOME_CHANNEL,
    onNotification: (requestId) => wake(waiting.get(requestId)),
    onGap() {
      for (const listeners of waiting.values()) wake(listeners);
    },
  };
  const close = await listen(url, [outcomes, ...others], onError);
  return {
    subscribe(requestId, onNews) {
      const listeners = waiting.get(requestId) ?? new Set();
      waiting.set(requestId, listeners.add(onNews));
      return () => {
        listeners.delete(onNews);
        if (listeners.size === 0) waiting.delete(requestId);
      };
    },
    close,
  };
}

function wake(listeners: Set<() => void> | undefined): void {
  for (const onNews of listeners ?? []) onNews();
}
