import type { NodeId } from '../protocol/ids.ts';

/** Tasks that nodes got here and haven't answered, as far as this edge knows. */
export class InFlight {
  readonly #tasks = new Map<NodeId, Map<string, Task>>();

  /** @param expiresAtMs when Temporal has given it up in any case. */
  add(nodeId: NodeId, taskToken: Uint8Array, nowMs: number, expiresAtMs: number): void {
    const tasks = this.#tasks.get(nodeId) ?? new Map<string, Task>();
    tasks.set(keyOf(taskToken), { taskToken, deliveredAtMs: nowMs, expiresAtMs });
    this.#tasks.set(nodeId, tasks);
  }

  /** It was answered, or is over. */
  remove(nodeId: NodeId, taskToken: Uint8Array): void {
    const tasks = this.#tasks.get(nodeId);
    tasks?.delete(keyOf(taskToken));
    if (tasks?.size === 0) this.#tasks.delete(nodeId);
  }

  /** Takes away what the node got until then. @returns Temporal's tokens. */
  take(nodeId: NodeId, deliveredUntilMs = Infinity): Uint8Array[] {
    const taken = [...(this.#tasks.get(nodeId)?.values() ?? [])].filter(
      ({ deliveredAtMs }) => deliveredAtMs <= deliveredUntilMs,
    );
    for (const { taskToken } of taken) this.remove(nodeId, taskToken);
    return taken.map(({ taskToken }) => taskToken);
  }

  has(nodeId: NodeId): boolean {
    return this.#tasks.has(nodeId);
  }

  /** Nodes that have one. What is over by itself is forgotten. */
  nodes(nowMs: number): NodeId[] {
    for (const [nodeId, tasks] of this.#tasks) this.#prune(nodeId, tasks, nowMs);
    return [...this.#tasks.keys()];
  }

  /** How many there are that aren't over by themselves. */
  count(nowMs: number): number {
    let count = 0;
    for (const nodeId of this.nodes(nowMs)) count += this.#tasks.get(nodeId)?.size ?? 0;
    return count;
  }

  #prune(nodeId: NodeId, tasks: Map<string, Task>, nowMs: number): void {
    for (const [key, task] of tasks) if (task.expiresAtMs < nowMs) tasks.delete(key);
    if (tasks.size === 0) this.#tasks.delete(nodeId);
  }
}

interface Task {
  readonly taskToken: Uint8Array;
  readonly deliveredAtMs: number;
  readonly expiresAtMs: number;
}

function keyOf(taskToken: Uint8Array): string {
  return Buffer.from(taskToken).toString('base64');
}
