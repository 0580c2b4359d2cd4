import { Client } from 'pg';
import type { Transaction } from './client.ts';

/** Notifications on it carry a request's id: its row says something new. */
export const OUTCOME_CHANNEL = 'plx_outcome';
const RECONNECT_MS = 500;

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
 * One LISTEN connection for the whole process, shared by all who wait for a request. After a lost
 * connection it reconnects, and wakes everybody once because news may have passed meanwhile.
 */
export async function listenForOutcomes(
  url: string,
  onError: (error: Error) => void,
): Promise<OutcomeListener> {
  const waiting = new Map<string, Set<() => void>>();
  let closed = false;
  let client = await connect();

  async function connect(): Promise<Client> {
    const connection = new Client({ connectionString: url });
    connection.on('notification', ({ payload }) => wake(waiting.get(payload ?? '')));
    connection.on('error', (error) => {
      onError(error);
      void reconnect(connection);
    });
    await connection.connect();
    await connection.query(`LISTEN ${OUTCOME_CHANNEL}`);
    return connection;
  }

  async function reconnect(broken: Client): Promise<void> {
    if (closed || broken !== client) return;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
      if (closed) return;
      try {
        client = await connect();
        for (const listeners of waiting.values()) wake(listeners);
        return;
      } catch (error) {
        onError(error instanceof Error ? error : new Error(String(error)));
      }
    }
  }

  return {
    subscribe(requestId, onNews) {
      const listeners = waiting.get(requestId) ?? new Set();
      waiting.set(requestId, listeners.add(onNews));
      return () => {
        listeners.delete(onNews);
        if (listeners.size === 0) waiting.delete(requestId);
      };
    },
    async close() {
      closed = true;
      await client.end();
    },
  };
}

function wake(listeners: Set<() => void> | undefined): void {
  for (const onNews of listeners ?? []) onNews();
}
