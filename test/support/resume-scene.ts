import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { instantBackend } from '../../bench/instant-backend.ts';
import { startCoordination, type Coordination } from './coordination.ts';
import { API_KEY } from './seeded.ts';
import { openStream } from './stream-reader.ts';
import { startTestNode, type TestNode, type TestNodeOptions } from './test-node.ts';

export const PIECES = [
  'Ein ',
  'schöner ',
  '🙂 ',
  'Tag',
  ' in ',
  'Reykjavík',
  ', ',
  '冰岛',
  '.\n\n',
  '🇮🇸',
];
export const TEXT = PIECES.join('');
export const LONG = Array.from({ length: 40 }, (_, index) => `${index} `);
export const OTHER_KEY = 'plx-other-key-00000000';

/** Two coordinators, each with a gateway, and real nodes, for streams that are taken up again. */
export class ResumeScene {
  readonly network: Coordination;
  readonly #nodes: TestNode[] = [];

  private constructor(network: Coordination) {
    this.network = network;
  }

  static async start(): Promise<ResumeScene> {
    const network = await startCoordination(2);
    const keyHash = createHash('sha256').update(OTHER_KEY).digest('hex');
    await network.database.account.create({
      data: { id: 'acct_other', name: 'Other', apiKeys: { create: { keyHash } } },
    });
    return new ResumeScene(network);
  }

  /** After each test: removes its nodes. */
  async tidy(): Promise<void> {
    await Promise.all(this.#nodes.splice(0).map((node) => node.stop()));
    await this.network.database.node.updateMany({ data: { status: 'removed' } });
  }

  /** Adds a node that says `pieces`; the first one gets what comes. @returns its id. */
  async add(
    pieces: readonly string[],
    pieceMs = 0,
    options: Partial<TestNodeOptions> = {},
  ): Promise<string> {
    const backend = instantBackend({ answer: () => pieces, pieceMs });
    const name = `node-${this.#nodes.length}`;
    const tier = this.#nodes.length + 1;
    const node = await startTestNode({ ...this.network, name, tier, backend, ...options });
    this.#nodes.push(node);
    return node.keys.nodeId;
  }

  /** Adds a node that streams some of its text and fails, so that another one gets the request. */
  breaksOff(pieces: readonly string[]): Promise<string> {
    return this.add(pieces, 0, {
      behaviour: (honest) => {
        const backend = instantBackend();
        return honest({
          backend: {
            ...backend,
            async generate(_request, onText) {
              for (const piece of pieces) onText(piece);
              // Time for it to get through.
              await new Promise((resolve) => setTimeout(resolve, 500));
              throw new Error('broken');
            },
          },
        });
      },
    });
  }

  /** Streams an answer by the first gateway. */
  ask(body: object = {}) {
    return openStream(`${this.network.gatewayUrl}/v1/chat/completions`, API_KEY, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...QUESTION, stream: true, ...body }),
    });
  }

  /** By the second gateway, unless told otherwise. */
  resume(
    id: string,
    query: Readonly<Record<string, string | number | boolean>> = {},
    gateway = 1,
    headers: Readonly<Record<string, string>> = {},
  ) {
    const search = Object.entries(query).map(([name, value]) => `${name}=${value}`);
    const url = `${this.network.gatewayUrls[gateway]}/v1/requests/${id}/stream`;
    return openStream(`${url}?${search.join('&')}`, API_KEY, { headers });
  }

  /** Asks without waiting for the answer. @returns the id. */
  async submit(body: object = {}): Promise<string> {
    const response = await fetch(`${this.network.gatewayUrl}/v1/requests`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({ ...QUESTION, ...body }),
    });
    assert.equal(response.status, 202, await response.clone().text());
    return ((await response.json()) as { id: string }).id;
  }
}

/** What is asked unless a test asks otherwise. */
export const QUESTION = {
  model: 'instant',
  messages: [{ role: 'user', content: 'Hello' }],
  max_tokens: 100,
};
