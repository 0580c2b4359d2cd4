import assert from 'node:assert/strict';
import { MAX_TOKENS_MAX, PAYLOAD_BYTES_MAX } from '../../protocol/receive.ts';
import { RESULT_BYTES_MAX } from '../../protocol/result.ts';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { historyOf } from '../support/history.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';

/** Answers with as many bytes as the prompt's number says, in as many pieces as are allowed. */
const sizedBackend = () =>
  instantBackend({
    answer: ({ messages, maxTokens }) => {
      const bytes = Number(messages.at(-1)?.content.split(' ', 1)[0]);
      const piece = 'x'.repeat(Math.ceil(bytes / maxTokens));
      return Array.from({ length: maxTokens }, () => piece);
    },
  });

/** The largest requests and results that are allowed, and the smallest that aren't. */
describe('deep: sizes', function () {
  this.timeout(300_000);
  let coordination: Coordination;
  let node: TestNode;

  before(async () => {
    coordination = await startCoordination();
    node = await startTestNode({
      ...coordination,
      name: 'large',
      tier: 1,
      backend: sizedBackend(),
    });
  });
  after(async () => {
    await node.stop();
    await coordination.stop();
  });

  const ask = (content: string, more: object = {}) =>
    coordination.chat({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content }],
      max_tokens: MAX_TOKENS_MAX,
      // So large a prompt needs longer than the default, by the node's claimed throughput.
      deadline_seconds: 600,
      ...more,
    });

  /** What the payload has around the prompt: found by asking, so that no test relies on a count. */
  async function largestPrompt(): Promise<string> {
    let [fits, tooMuch] = [PAYLOAD_BYTES_MAX - 2_048, PAYLOAD_BYTES_MAX];
    while (tooMuch - fits > 1) {
      const middle = Math.floor((fits + tooMuch) / 2);
      const response = await ask(`1 ${'p'.repeat(middle - 2)}`, { max_tokens: 1 });
      const answer = await response.text();
      if (response.ok) fits = middle;
      else {
        assert.equal(response.status, 413, answer);
        tooMuch = middle;
      }
    }
    return `1 ${'p'.repeat(fits - 2)}`;
  }

  it('takes the largest payload, and refuses one byte more without charge', async () => {
    const prompt = await largestPrompt();
    const response = await ask(prompt, { max_tokens: 1 });
    assert.equal(response.status, 200);
    const refused = await ask(`${prompt}p`, { max_tokens: 1 });
    assert.equal(refused.status, 413);
    const { error } = (await refused.json()) as { error: { code: string } };
    assert.equal(error.code, 'receive.payload_too_large');
    assert.equal(refused.headers.get('x-request-id'), null);
  });

  it('returns a result of nearly a megabyte, whole, in a small history', async () => {
    const bytes = RESULT_BYTES_MAX - 80_000;
    const response = await ask(String(bytes));
    const body = (await response.json()) as {
      id: string;
      choices: { message: { content: string }; finish_reason: string }[];
    };
    assert.equal(response.status, 200, JSON.stringify(body).slice(0, 500));
    assert.ok((body.choices[0]?.message.content.length ?? 0) >= bytes);
    assert.equal(body.choices[0]?.finish_reason, 'length');
    assert.equal((await coordination.ended(body.id)).status, 'completed');
    const { events } = await historyOf(coordination.client, body.id);
    assert.equal(events.length, 16);
    const historyBytes = JSON.stringify(events).length;
    assert.ok(historyBytes < 4 * 1024 * 1024, `${historyBytes} bytes of history`);
  });

  it('streams as many pieces as a result may have tokens', async () => {
    const response = await ask(String(MAX_TOKENS_MAX * 20), { stream: true });
    assert.equal(response.status, 200);
    const text = await response.text();
    const pieces = text.split('\n').filter((line) => line.startsWith('data: {'));
    const content = pieces
      .map((line) => JSON.parse(line.slice('data: '.length)) as Chunk)
      .map(({ choices }) => choices[0]?.delta.content ?? '')
      .join('');
    assert.equal(content.length, MAX_TOKENS_MAX * 20);
    assert.match(text, /"finish_reason":"length"/);
    assert.match(text, /data: \[DONE\]\s*$/);
  });

  it('serves 100 streams at once, each its own text', async () => {
    const streams = Array.from({ length: 100 }, async (_, index) => {
      const length = 1_000 + index;
      const response = await ask(String(length), { stream: true, max_tokens: 50 });
      const text = await response.text();
      const content = [...text.matchAll(/"content":"(x*)"/g)].map(([, piece]) => piece).join('');
      assert.equal(content.length, Math.ceil(length / 50) * 50, text.slice(-500));
    });
    await Promise.all(streams);
  });

  it('ends a result that is too large with a code, free of charge', async () => {
    // There is no other node that could do better, so that it ends with its deadline.
    const response = await ask(String(RESULT_BYTES_MAX + 1), { deadline_seconds: 20 });
    assert.equal(response.status, 503);
    const { error } = (await response.json()) as { error: { code: string } };
    assert.equal(error.code, 'schedule.deadline_elapsed');
    const view = await coordination.ended(response.headers.get('x-request-id') ?? '');
    assert.equal(view.charged_wei, '0');
    assert.match(JSON.stringify(view.steps), /execute\.backend_failed/);
  });
});

interface Chunk {
  readonly choices: { readonly delta: { readonly content?: string } }[];
}
