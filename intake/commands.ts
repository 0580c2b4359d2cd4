import type { KeyObject } from 'node:crypto';
import { PassThrough, type Readable } from 'node:stream';
import { attemptNumber } from '../crypto/channel.ts';
import type { Cancellation } from '../prisma/cancellations.ts';
import { COMMAND_PING_MS, type NodeCommand } from '../protocol/commands.ts';
import type { NodeId } from '../protocol/ids.ts';

/** What a node may leave unread: commands are small and rare, so it has stopped reading. */
const UNREAD_BYTES_MAX = 64 * 1024;

/**
 * The nodes that hold a command stream open to this coordinator. Each has one, and the latest
 * counts: an older one may be a connection whose end nobody has noticed yet.
 */
export class Commands {
  readonly #channelSecret: KeyObject;
  readonly #connected = new Map<NodeId, PassThrough>();

  constructor(channelSecret: KeyObject) {
    this.#channelSecret = channelSecret;
  }

  /** @returns lines of JSON, until it is destroyed or the node connects again. */
  connect(nodeId: NodeId): Readable {
    this.#connected.get(nodeId)?.destroy();
    const lines = new PassThrough();
    this.#connected.set(nodeId, lines);
    const ping = setInterval(() => send(lines, { type: 'ping' }), COMMAND_PING_MS);
    lines.on('close', () => {
      clearInterval(ping);
      if (this.#connected.get(nodeId) === lines) this.#connected.delete(nodeId);
    });
    // The first line tells the node that it is connected.
    send(lines, { type: 'ping' });
    return lines;
  }

  /** @returns whether the node is connected here. */
  cancel({ nodeId, unitId, dispatch }: Cancellation): boolean {
    const lines = this.#connected.get(nodeId);
    if (lines === undefined) return false;
    const number = attemptNumber(this.#channelSecret, unitId, dispatch);
    return send(lines, { type: 'cancel', unitId, dispatch: number });
  }
}

function send(lines: PassThrough, command: NodeCommand): boolean {
  if (lines.destroyed) return false;
  if (lines.writableLength + lines.readableLength > UNREAD_BYTES_MAX) {
    lines.destroy();
    return false;
  }
  lines.write(`${JSON.stringify(command)}\n`);
  return true;
}
