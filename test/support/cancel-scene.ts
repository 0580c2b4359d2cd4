import assert from 'node:assert/strict';
import type { Backend, GenerateRequest } from '../../nodes/backends/backend.ts';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { startCoordination, type Coordination, type RequestView } from './coordination.ts';
import { ACCOUNT, API_KEY, balances } from './seeded.ts';
import { startTestNode, type TestNode, type TestNodeOptions } from './test-node.ts';
import { until } from './until.ts';

/** From the call to the node's abort, generously: without a direct way it takes seconds. */
export const ABORT_MS_MAX = 1_000;
const ENDLESS = Array.from({ length: 200 }, (_, index) => `word${index} `).join('');

/** Requests that are cancelled, on a real coordinator with real nodes. */
export class CancelScene {
  readonly network: Coordination;
  readonly #nodes: TestNode[] = [];
  /** Lets the nodes go that do nothing. */
  letGo = () => {};

  private constructor(network: Coordination) {
    this.network = network;
  }

  static async start(): Promise<CancelScene> {
    return new CancelScene(await startCoordination());
  }

  /** After each test: removes its nodes, and looks at the ledger. */
  async tidy(): Promise<void> {
    const { database } = this.network;
    this.letGo();
    for (const node of this.#nodes.splice(0)) await node.stop();
    await database.node.updateMany({ data: { status: 'removed' } });
    const ledger = await this.balances();
    const sum = Object.values(ledger).reduce((total, wei) => total + wei, 0n);
    assert.equal(sum, 0n, 'the ledger is conserved');
    assert.equal(ledger[`${ACCOUNT}:reserved`], 0n, 'nothing stays reserved');
  }

  async addNode(options: Partial<TestNodeOptions> = {}): Promise<TestNode> {
    const name = `node-${this.#nodes.length}`;
    const backend = instantBackend();
    const node = await startTestNode({ ...this.network, name, tier: 1, backend, ...options });
    this.#nodes.push(node);
    if (options.takesCommands !== false)
      await until(() => node.isConnected(), 'its command stream is open');
    return node;
  }

  ask(
    stream: boolean,
    signal?: AbortSignal,
    changed: object = {},
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Response> {
    const body = {
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: ENDLESS }],
      max_tokens: 200,
      stream,
      ...changed,
    };
    return this.network.chat(body, API_KEY, 0, { headers, ...(signal ? { signal } : {}) });
  }

  /** The id of the request that is under way. */
  async running(): Promise<string> {
    const { database } = this.network;
    let id: string | undefined;
    await until(async () => {
      id = (await database.request.findFirst({ where: { finishedAt: null } }))?.id;
      return id !== undefined;
    }, 'a request');
    return id ?? assert.fail();
  }

  async cancel(id: string) {
    const sentAtMs = performance.now();
    const response = await fetch(`${this.network.gatewayUrl}/v1/requests/${id}/cancel`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}` },
    });
    const view = (await response.json()) as RequestView;
    return { status: response.status, view, sentAtMs, tookMs: performance.now() - sentAtMs };
  }

  /** Streams until some text is there, and cancels. */
  async cancelStream() {
    const before = await this.available();
    const response = await this.ask(true);
    const id = response.headers.get('x-request-id') ?? assert.fail();
    const { seen, whole } = read(response);
    await until(() => seen.pieces >= 3, 'three pieces of text');
    const cancelled = await this.cancel(id);
    const { pieces, text } = await whole;
    return { id, pieces, text, cancelled, paid: before - (await this.available()) };
  }

  balances() {
    return balances(this.network.database);
  }

  async available(): Promise<bigint> {
    return (await this.balances())[`${ACCOUNT}:available`] ?? 0n;
  }

  slotOf(unitId: string) {
    return this.network.database.slot.findFirst({ where: { unitId } });
  }

  flags(unitId: string): Promise<number> {
    return this.network.database.nodeEvent.count({ where: { unitId } });
  }

  async outcomes(unitId: string): Promise<(string | null)[]> {
    const attempts = await this.network.database.dispatch.findMany({ where: { unitId } });
    return attempts.map(({ outcome }) => outcome);
  }

  async priceOf(promptTokens: number, completionTokens: number): Promise<bigint> {
    const where = { id: INSTANT_MODEL.id };
    const model = await this.network.database.model.findUniqueOrThrow({ where });
    const wei = (tokens: number, price: { toFixed(): string }) =>
      BigInt(tokens) * BigInt(price.toFixed());
    return (
      wei(promptTokens, model.promptPriceWei) + wei(completionTokens, model.completionPriceWei)
    );
  }
}

/** Reads a stream until its end, and counts the pieces of text that came. */
export function read(response: Response) {
  const seen = { pieces: 0, text: '' };
  const whole = (async () => {
    const decoder = new TextDecoder();
    for await (const bytes of response.body ?? []) {
      seen.text += decoder.decode(bytes, { stream: true });
      seen.pieces = seen.text.match(/"content":"word/g)?.length ?? 0;
    }
    return seen;
  })();
  return { seen, whole };
}

/** A backend, how often it was started, and when it was told to stop (0: not yet). */
export function observed(backend: Backend) {
  let abortedAtMs = 0;
  let started = 0;
  const generate = (
    request: GenerateRequest,
    onText: (delta: string) => void,
    signal: AbortSignal,
  ) => {
    started += 1;
    signal.addEventListener('abort', () => (abortedAtMs = performance.now()));
    return backend.generate(request, onText, signal);
  };
  return {
    backend: { ...backend, generate } satisfies Backend,
    started: () => started,
    abortedAtMs: () => abortedAtMs,
  };
}
