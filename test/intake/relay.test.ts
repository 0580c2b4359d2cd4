import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { attemptNumber, makeChannelToken } from '../../crypto/channel.ts';
import { generateX25519Key, type X25519Key } from '../../crypto/keys.ts';
import { createStreamSealer, type StreamSealer } from '../../crypto/stream.ts';
import { Relay, type RelayedFrame, type Subscription } from '../../intake/relay.ts';
import { CodedError } from '../../protocol/errors.ts';
import { formatNodeId, formatRequestId } from '../../protocol/ids.ts';
import { RUNNING_MAX } from '../../protocol/presence.ts';
import { emptyStreamDigest, extendStreamDigest } from '../../protocol/result.ts';
import { checkStream } from '../../protocol/validate.ts';
import { requester } from '../support/seeded.ts';

const secret = createSecretKey(randomBytes(32));
const unitId = formatRequestId(randomBytes(32));
const nodeId = formatNodeId(randomBytes(32));

const coded = (code: string) => (error: unknown) =>
  error instanceof CodedError && error.code === code;

/** What a node is answered instead of 204. */
function thrown(work: () => void): unknown {
  try {
    work();
    return null;
  } catch (error) {
    assert.ok(error instanceof Error);
    return [error.name, error.message, 'code' in error && error.code];
  }
}

describe('intake/relay', () => {
  let relay: Relay;
  let returnKey: X25519Key;
  let seen: RelayedFrame[];
  let release: () => void;
  let subscription: Subscription;
  before(async () => {
    returnKey = await generateX25519Key();
  });
  beforeEach(() => {
    relay = new Relay(secret, [returnKey]);
    seen = [];
    release = relay.hold(unitId);
    subscription = relay.subscribe(unitId, (frame) => seen.push(frame) > 0);
  });

  /** As its node knows it. */
  const attempt = (dispatch: number) => ({
    unitId,
    dispatch: attemptNumber(secret, unitId, dispatch),
    nodeId,
  });
  const incoming = (dispatch: number, isCheck = false) =>
    relay.open(attempt(dispatch), makeChannelToken(secret, attempt(dispatch), isCheck));
  const open = (dispatch: number, isCheck = false) => incoming(dispatch, isCheck).accept;
  const sealer = (dispatch: number) =>
    createStreamSealer({
      ...attempt(dispatch),
      requesterKey: requester.publicJwk,
      returnKey: returnKey.publicJwk,
    });

  it('passes sealed frames on, and knows what they said', async () => {
    const accept = open(1);
    const frames = await sealer(1);
    const sent = [frames.keyFrame, frames.delta('one '), frames.delta('two'), frames.end()];
    for (const frame of sent) accept(frame);
    assert.deepEqual(
      seen,
      sent.map((frame) => ({
        frame,
        dispatch: 1,
        attemptNumber: attempt(1).dispatch,
        node: nodeId,
      })),
    );
    const digest = ['one ', 'two'].reduce(extendStreamDigest, emptyStreamDigest);
    assert.deepEqual(relay.relayed(unitId, 1), {
      text: 'one two',
      streamDigest: digest,
      ended: true,
      deltaFrames: 2,
    });
    assert.equal(relay.relayed(unitId, 2), null);
    release();
    assert.equal(relay.relayed(unitId, 1), null);
  });

  it('counts the frames of text that somebody took', async () => {
    const accept = open(1);
    const frames = await sealer(1);
    for (const frame of [frames.keyFrame, frames.delta('one '), frames.delta('')]) accept(frame);
    subscription.end();
    for (const frame of [frames.delta('two'), frames.end()]) accept(frame);
    const relayed = relay.relayed(unitId, 1);
    // What nobody took is compared all the same.
    assert.deepEqual([relayed?.text, relayed?.ended], ['one two', true]);
    assert.equal(relayed?.deltaFrames, 1);
  });

  it('passes nothing more on of an attempt that was stopped, nor counts it', async () => {
    const [accept, frames] = [open(1), await sealer(1)];
    for (const frame of [frames.keyFrame, frames.delta('one ')]) accept(frame);
    relay.stop(unitId, 1);
    for (const frame of [frames.delta('two'), frames.end()]) accept(frame);
    assert.equal(seen.length, 2);
    const relayed = relay.relayed(unitId, 1);
    assert.deepEqual([relayed?.text, relayed?.ended, relayed?.deltaFrames], ['one two', true, 1]);
    // Another attempt is another matter, also when the first is stopped once more.
    relay.stop(unitId, 1);
    const [acceptNext, next] = [open(2), await sealer(2)];
    for (const frame of [next.keyFrame, next.delta('one ')]) acceptNext(frame);
    assert.equal(relay.relayed(unitId, 2)?.deltaFrames, 1);
    // A stream may begin after its attempt was stopped.
    relay.stop(unitId, 3);
    const [acceptLate, late] = [open(3), await sealer(3)];
    for (const frame of [late.keyFrame, late.delta('one ')]) acceptLate(frame);
    assert.equal(relay.relayed(unitId, 3)?.deltaFrames, 0);
  });

  it('takes and forgets what is for a unit that nobody waits for', async () => {
    release();
    const [accept, frames] = [open(1), await sealer(1)];
    relay.hold(unitId);
    relay.subscribe(unitId, (frame) => seen.push(frame) > 0);
    for (const frame of [frames.keyFrame, frames.delta('one'), frames.end()]) accept(frame);
    assert.deepEqual(seen, []);
    assert.equal(relay.relayed(unitId, 1), null);
  });

  it('takes and forgets what comes once Validate has compared', async () => {
    const accept = open(1);
    const frames = await sealer(1);
    accept(frames.keyFrame);
    accept(frames.delta('one'));
    assert.equal(relay.relayed(unitId, 1)?.text, 'one');
    accept(frames.delta(' more'));
    accept(frames.end());
    assert.equal(seen.length, 2);
    const relayed = relay.relayed(unitId, 1);
    assert.deepEqual([relayed?.text, relayed?.ended, relayed?.deltaFrames], ['one', false, 1]);
  });

  it('keeps a check to itself, whatever the attempt that it checks does', async () => {
    const [first, check] = [await sealer(1), await sealer(2)];
    const acceptEarly = open(3, true);
    const acceptCheck = open(2, true);
    const early = await sealer(3);
    acceptEarly(early.keyFrame);
    acceptCheck(check.keyFrame);
    const accept = open(1);
    accept(first.keyFrame);
    acceptCheck(check.delta('of the check'));
    accept(first.delta('one'));
    acceptCheck(check.end());
    accept(first.end());
    acceptEarly(early.delta('late'));
    assert.deepEqual(new Set(seen.map(({ dispatch }) => dispatch)), new Set([1]));
    assert.equal(seen.length, 3);
    for (const dispatch of [2, 3]) assert.equal(relay.relayed(unitId, dispatch), null);
    assert.deepEqual(
      [relay.relayed(unitId, 1)?.text, relay.relayed(unitId, 1)?.ended],
      ['one', true],
    );
  });

  it('answers a check as it answers work: same faults, same limits', async () => {
    const faults: ((accept: (frame: string) => void, frames: StreamSealer) => void)[] = [
      (accept) => accept('nonsense'),
      (accept, frames) => {
        accept(frames.keyFrame);
        frames.delta('left out');
        accept(frames.delta('two'));
      },
      (accept, frames) => {
        for (const frame of [frames.keyFrame, frames.end(), 'more']) accept(frame);
      },
      (accept, frames) => {
        accept(frames.keyFrame);
        for (let sent = 0; sent < 100; sent++) accept(frames.delta('x'.repeat(32_000)));
      },
      (accept, frames) => {
        accept(frames.keyFrame);
        for (let sent = 0; sent < 10; sent++) accept(frames.delta('x'));
      },
    ];
    for (const [index, fault] of faults.entries()) {
      const answers: unknown[] = [];
      for (const [dispatch, isCheck] of [
        [index + 1, false],
        [index + 1, true],
      ] as const) {
        const frames = await sealer(dispatch);
        answers.push(thrown(() => fault(open(dispatch, isCheck), frames)));
      }
      assert.deepEqual(answers[1], answers[0]);
      assert.equal(answers[0] === null, index === faults.length - 1);
    }
  });

  it('takes no more streams of a node at a time than it can have attempts', () => {
    const streams = Array.from({ length: RUNNING_MAX }, (_, index) => incoming(1, index % 2 > 0));
    for (const isCheck of [false, true])
      assert.throws(() => incoming(2, isCheck), coded('relay.too_many'));
    const other = { ...attempt(1), nodeId: formatNodeId(randomBytes(32)) };
    relay.open(other, makeChannelToken(secret, other)).close();
    streams[0]?.close();
    incoming(2).close();
    for (const stream of streams.slice(1)) stream.close();
    for (let index = 0; index < 2 * RUNNING_MAX; index++) incoming(2).close();
  });

  it('takes frames by the token of exactly that attempt', () => {
    const token = makeChannelToken(secret, attempt(1));
    assert.throws(() => relay.open(attempt(2), token), coded('relay.forbidden'));
    const other = { ...attempt(1), nodeId: formatNodeId(randomBytes(32)) };
    assert.throws(() => relay.open(other, token), coded('relay.forbidden'));
    assert.throws(() => relay.open(attempt(1), ''), coded('relay.forbidden'));
    const none = { ...attempt(1), dispatch: 999_999_999 };
    const forged = makeChannelToken(secret, none);
    assert.throws(() => relay.open(none, forged), coded('relay.forbidden'));
  });

  it('takes the frames of an attempt that an earlier version has dispatched', async () => {
    const told = { unitId, dispatch: 2, nodeId };
    const keys = { requesterKey: requester.publicJwk, returnKey: returnKey.publicJwk };
    const frames = await createStreamSealer({ ...told, ...keys });
    const { accept } = relay.open(told, makeChannelToken(secret, told));
    for (const frame of [frames.keyFrame, frames.delta('one')]) accept(frame);
    assert.deepEqual([seen[1]?.dispatch, seen[1]?.attemptNumber], [2, 2]);
    assert.equal(relay.relayed(unitId, 2)?.text, 'one');
  });

  it('lets a later attempt replace an earlier one, never the other way round', async () => {
    const first = open(1);
    const frames = await sealer(1);
    first(frames.keyFrame);
    const [second, next] = [open(2), await sealer(2)];
    second(next.keyFrame);
    first(frames.delta('late'));
    for (const dispatch of [1, 2]) {
      const again = await sealer(dispatch);
      const accept = open(dispatch);
      for (const frame of [again.keyFrame, again.delta('again')]) accept(frame);
    }
    assert.deepEqual(
      seen.map(({ dispatch, frame }) => [dispatch, frame]),
      [
        [1, frames.keyFrame],
        [2, next.keyFrame],
      ],
    );
    assert.equal(relay.relayed(unitId, 1), null);
    assert.equal(relay.relayed(unitId, 2)?.text, '');
  });

  it('keeps a forged or reordered frame from whoever listens', async () => {
    const accept = open(1);
    const frames = await sealer(1);
    accept(frames.keyFrame);
    const one = frames.delta('one');
    const two = frames.delta('two');
    assert.throws(() => accept(two));
    assert.throws(() => accept('nonsense'));
    accept(one);
    assert.equal(seen.length, 2);
    assert.equal(relay.relayed(unitId, 1)?.text, 'one');
  });

  it('stops a node that floods', async () => {
    const accept = open(1);
    const frames = await sealer(1);
    accept(frames.keyFrame);
    assert.throws(() => {
      for (let sent = 0; sent < 100; sent++) accept(frames.delta('x'.repeat(32_000)));
    }, coded('relay.bad_frame'));
    assert.ok((relay.relayed(unitId, 1)?.text.length ?? 0) < 1_200_000);
  });

  it('makes Validate refuse another text than the one that was streamed', async () => {
    const accept = open(1);
    const frames = await sealer(1);
    for (const frame of [frames.keyFrame, frames.delta('yes'), frames.end()]) accept(frame);
    const result = {
      v: 1 as const,
      modelDigest: `sha256:${'1'.repeat(64)}`,
      engine: 'e',
      seed: 1,
      choices: [{ text: 'no', finishReason: 'stop' as const }],
      usage: { promptTokens: 1, completionTokens: 1 },
      streamDigest: extendStreamDigest(emptyStreamDigest, 'no'),
    };
    assert.equal(checkStream(result, relay.relayed(unitId, 1)), 'poe.stream_mismatch');
  });
});
