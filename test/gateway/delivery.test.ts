import assert from 'node:assert/strict';
import { instantBackend } from '../../bench/instant-backend.ts';
import type { RequesterKey } from '../../protocol/receive.ts';
import { ASKED, lies, startCheckScene, type CheckScene } from '../support/check-scene.ts';
import { INTAKE_TOKEN } from '../support/coordination.ts';
import { intakeCall } from '../support/seeded.ts';

interface Chunk {
  readonly choices: readonly {
    readonly delta: { readonly content?: string };
    readonly finish_reason: string | null;
  }[];
  readonly error?: { readonly code: string };
  readonly parallelix?: {
    readonly state: string;
    readonly charged_wei: string;
    readonly verification: { readonly outcome: string; readonly votes: readonly object[] };
  };
}

/** Slow enough that pieces come one by one. */
const slow = () => instantBackend({ pieceMs: 60 });

describe('gateway: delivery', () => {
  let scene: CheckScene;
  before(async () => {
    scene = await startCheckScene();
  });
  afterEach(() => scene.clear());
  after(() => scene.stop());

  /** The chunks of a stream, to its [DONE]. */
  async function streamed(body: object): Promise<{ id: string; chunks: Chunk[] }> {
    const message = { role: 'user', content: ASKED };
    const response = await scene.network.chat({
      model: 'instant',
      messages: [message],
      max_tokens: 16,
      stream: true,
      ...body,
    });
    const text = await response.text();
    assert.equal(response.status, 200, text);
    assert.ok(text.endsWith('data: [DONE]\n\n'), text);
    const lines = text.split('\n').filter((line) => line.startsWith('data: {'));
    return {
      id: response.headers.get('x-request-id') ?? '',
      chunks: lines.map((line) => JSON.parse(line.slice('data: '.length)) as Chunk),
    };
  }

  const textsOf = (chunks: readonly Chunk[]) =>
    chunks.map(({ choices }) => choices?.[0]?.delta.content ?? '').filter(Boolean);
  const rowOf = (id: string) => scene.network.database.request.findUniqueOrThrow({ where: { id } });

  it('early: text comes as it is made, which is what a stream is by default', async () => {
    await scene.add('first', { backend: slow() });
    for (const body of [{}, { delivery: 'early' }]) {
      const { id, chunks } = await streamed(body);
      assert.deepEqual(textsOf(chunks), ['one ', 'two ', 'three']);
      const { delivery, parameters } = await rowOf(id);
      assert.deepEqual([delivery, (parameters as { stream: boolean }).stream], ['early', true]);
    }
  });

  it('validated: a stream gets its text at once, and the node is asked for none', async () => {
    await scene.add('first', { backend: slow() });
    const { id, chunks } = await streamed({ delivery: 'validated' });
    assert.deepEqual(textsOf(chunks), [ASKED]);
    const { delivery, parameters } = await rowOf(id);
    assert.deepEqual([delivery, (parameters as { stream: boolean }).stream], ['validated', false]);
  });

  it('strict: a stream gets the text that won the vote, and nothing of what lost', async () => {
    await scene.add('liar', { behaviour: lies() });
    await scene.add('second');
    await scene.add('third');
    const options = { include_verification: true };
    const { id, chunks } = await streamed({ delivery: 'strict', stream_options: options });
    assert.deepEqual(textsOf(chunks), [ASKED]);
    const { parallelix } = chunks.at(-1) ?? {};
    assert.deepEqual(
      [parallelix?.state, parallelix?.verification.outcome],
      ['completed', 'overruled'],
    );
    const { delivery, chargedWei } = await rowOf(id);
    assert.deepEqual([delivery, parallelix?.charged_wei], ['strict', chargedWei.toFixed()]);
  });

  it('a delivered answer that loses its vote says so on its stream', async () => {
    await scene.add('liar', { behaviour: lies() });
    await scene.add('second');
    await scene.add('third');
    const { id, chunks } = await streamed({
      stream_options: { include_usage: true, include_verification: true },
    });
    assert.equal(textsOf(chunks).join(''), 'one two four', 'it was delivered before');
    const finished = chunks.findIndex(({ choices }) => choices[0]?.finish_reason === 'stop');
    assert.equal(finished, chunks.length - 3, 'then usage, then the check');
    const last = chunks.at(-1);
    assert.deepEqual(last?.choices, []);
    assert.deepEqual(
      [last?.parallelix?.state, last?.parallelix?.charged_wei],
      ['invalidated', '0'],
    );
    assert.equal(last?.parallelix?.verification.outcome, 'overruled');
    assert.equal(last?.parallelix?.verification.votes.length, 3);
    assert.equal((await rowOf(id)).status, 'invalidated');
  });

  it('says so on the stream also if the coordinator is killed in between', async function () {
    this.timeout(180_000);
    await scene.add('first');
    const checker = instantBackend({ pieceMs: 3_000 });
    await scene.add('checker', { backend: checker });
    const asked = streamed({ stream_options: { include_verification: true } });
    const { database } = scene.network;
    const untilMs = Date.now() + 60_000;
    // The first answer is delivered, and being checked.
    while ((await database.dispatch.count({ where: { isCheck: true, outcome: null } })) === 0) {
      assert.ok(Date.now() < untilMs);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await scene.network.killCoordinator();
    await scene.network.startCoordinator();
    const { chunks } = await asked;
    assert.equal(textsOf(chunks).join(''), ASKED);
    assert.equal(chunks.filter(({ parallelix }) => parallelix).length, 1);
    assert.equal(chunks.at(-1)?.parallelix?.verification.outcome, 'agreed');
  });

  it('a result that lost its vote before its caller had it is not given any more', async () => {
    await scene.add('liar', { behaviour: lies() });
    await scene.add('second');
    await scene.add('third');
    const call = await intakeCallTo(scene.network.coordinatorUrl);
    const first = await outcomeOf(call);
    assert.equal(first.outcome.state, 'validated');
    const untilMs = Date.now() + 30_000;
    while ((await rowOf(first.requestId)).status !== 'invalidated') {
      assert.ok(Date.now() < untilMs);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    // As a gateway asks again whose connection broke before the answer came.
    const again = await outcomeOf(call);
    assert.equal(again.requestId, first.requestId);
    assert.deepEqual([again.outcome.state, again.outcome.code], ['failed', 'validate.overruled']);
  });

  async function intakeCallTo(coordinatorUrl: string): Promise<object> {
    const key = await fetch(`${coordinatorUrl}/v1/intake/key`);
    return intakeCall({}, (await key.json()) as RequesterKey);
  }

  async function outcomeOf(call: object) {
    const response = await fetch(`${scene.network.coordinatorUrl}/v1/intake`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${INTAKE_TOKEN}` },
      body: JSON.stringify(call),
    });
    const lines = (await response.text()).trimEnd().split('\n');
    const events = lines.map((line) => JSON.parse(line) as IntakeLine);
    const accepted = events.find(({ type }) => type === 'accepted');
    const outcome = events.find(({ type }) => type === 'outcome');
    assert.ok(accepted?.requestId && outcome, lines.join());
    return { requestId: accepted.requestId, outcome };
  }
});

interface IntakeLine {
  readonly type: string;
  readonly requestId?: string;
  readonly state?: string;
  readonly code?: string;
}
