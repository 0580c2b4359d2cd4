import { Client } from 'pg';

const RECONNECT_MS = 500;

/** What is done about the notifications of one channel. */
export interface NotificationHandler {
  readonly channel: string;
  onNotification(payload: string): void;
  /** Called when notifications may have been missed. */
  onGap?(): void;
}

/**
 * One LISTEN connection for the whole process and all its channels. After a lost connection it
 * reconnects, and says so, because notifications may have passed meanwhile.
 *
 * @returns ends it.
 */
export async function listen(
  url: string,
  handlers: readonly NotificationHandler[],
  onError: (error: Error) => void,
): Promise<() => Promise<void>> {
  let closed = false;
  let isReconnecting = false;
  let client = await connect();

  async function connect(): Promise<Client> {
    const connection = new Client({ connectionString: url });
    connection.on('notification', ({ channel, payload = '' }) => {
      for (const handler of handlers)
        if (handler.channel === channel) handler.onNotification(payload);
    });
    connection.on('error', (error) => {
      onError(error);
      void reconnect(connection);
    });
    await connection.connect();
    for (const { channel } of handlers) await connection.query(`LISTEN ${channel}`);
    return connection;
  }

  async function reconnect(broken: Client): Promise<void> {
    // A broken connection may report more than one error.
    if (closed || isReconnecting || broken !== client) return;
    isReconnecting = true;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
      if (closed) return;
      try {
        client = await connect();
        isReconnecting = false;
        for (const handler of handlers) handler.onGap?.();
        return;
      } catch (error) {
        onError(error instanceof Error ? error : new Error(String(error)));
      }
    }
  }

  return async () => {
    closed = true;
    await client.end();
  };
}
