import { fork } from 'node:child_process';
import { createLlamaBackend } from '../../nodes/backends/llama.ts';
import type { GenerateRequest } from '../../nodes/backends/backend.ts';
import { answerOf, type Answer } from './llm.ts';

/** A node's settings that may be each operator's own. */
export interface NodeSettings {
  readonly modelPath: string;
  /** Requests that run at a time. */
  readonly slots: number;
  readonly contextTokens: number;
}

export interface Answers {
  readonly engine: string;
  readonly modelDigest: string;
  readonly answers: readonly Answer[];
}

interface Order {
  readonly settings: NodeSettings;
  readonly requests: readonly GenerateRequest[];
}

/** The argument with which the program is a node; its requests come from its parent. */
export const NODE_ROLE = 'answer-as-node';

/** Lets another process answer all requests, as many at a time as it has slots. */
export function answerAll(
  settings: NodeSettings,
  requests: readonly GenerateRequest[],
): Promise<Answers> {
  const child = fork(process.argv[1] ?? '', [NODE_ROLE], { stdio: ['ignore', 2, 2, 'ipc'] });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('message', (answers) => resolve(answers as Answers));
    child.on('exit', (code) => reject(new Error(`a node ended with ${String(code)}`)));
    child.send({ settings, requests } satisfies Order);
  });
}

/** The other side of `answerAll`. */
export async function beNode(): Promise<void> {
  // A node whose parent was ended would answer nobody.
  process.once('disconnect', () => process.exit());
  const order = await new Promise<Order>((resolve) => {
    process.once('message', (message) => resolve(message as Order));
  });
  const backend = await createLlamaBackend({ ...order.settings, modelId: 'model' });
  const generate = async (request: GenerateRequest) =>
    answerOf(await backend.generate(request, () => undefined, new AbortController().signal));
  const answers = await Promise.all(order.requests.map(generate));
  const { engine, model } = backend;
  const all: Answers = { engine, modelDigest: model.digest, answers };
  await new Promise<void>((resolve) => process.send?.(all, () => resolve()));
  await backend.close();
  process.disconnect();
}
