import { setTimeout as sleep } from 'node:timers/promises';
import type { NodeCommand } from '../protocol/commands.ts';
import type { Attempts } from './attempts.ts';
import type { Channel } from './channel.ts';
import type { Log } from './membership.ts';

const RECONNECT_MS_MIN = 250;
const RECONNECT_MS_MAX = 5_000;

export interface CommandListener {
  isConnected(): boolean;
  stop(): Promise<void>;
}

/**
 * Holds a command stream open, for ever: while there is none, a cancellation reaches the node by
 * its Temporal heartbeats, only later.
 */
export function listenForCommands(
  channel: Channel,
  attempts: Pick<Attempts, 'cancel'>,
  log: Log,
): CommandListener {
  const stopped = new AbortController();
  const { signal } = stopped;
  let connected = false;

  const obey = (command: NodeCommand) => {
    connected = true;
    if (command.type === 'cancel') attempts.cancel(command);
  };

  async function listen(): Promise<void> {
    let waitMs = RECONNECT_MS_MIN;
    for (;;) {
      const startedAt = performance.now();
      try {
        await channel.commands(obey, signal);
      } catch (error) {
        if (signal.aborted) return;
        // Said once per outage.
        if (connected) log.warn({ error: String(error) }, 'node // command stream lost');
      }
      connected = false;
      // One that lasted is no sign of trouble, such as two nodes with the same keys.
      if (performance.now() - startedAt > RECONNECT_MS_MAX) waitMs = RECONNECT_MS_MIN;
      // Not all nodes at the same moment, when the coordinator is back.
      await sleep(waitMs * (0.5 + Math.random() / 2), undefined, { signal });
      waitMs = Math.min(2 * waitMs, RECONNECT_MS_MAX);
    }
  }

  const listening = listen().catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
  return {
    isConnected: () => connected,
    async stop() {
      stopped.abort();
      await listening;
    },
  };
}
