import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { makeChannelToken } from '../../crypto/channel.ts';
import { generateX25519Key, type X25519Key } from '../../crypto/keys.ts';
import { createStreamSealer } from '../../crypto/stream.ts';
import { Relay, type RelayedFrame } from '../../intake/relay.ts';
import { CodedError } from '../../protocol/errors.ts';
import { formatNodeId, formatRequestId } from '../../protocol/ids.ts';
import { emptyStreamDigest, extendStreamDigest } from '../../protocol/result.ts';
import { checkStream } from '../../protocol/validate.ts';
import { requester } from '../support/seeded.ts';

const secret = createSecretKey(randomBytes(32));
const unitId = formatRequestId(randomBytes(32));
const nodeId = formatNodeId(randomBytes(32));

const coded = (code: string) => (error: unknown) =>
  error instanceof CodedError && error.code === code;

describe('intake/relay', () => {
  let relay: Relay;
  let returnKey: X25519Key;
  let seen: RelayedFrame[];
  let unsubscribe: () => void;
  before(async () => {
    returnKey = await generateX25519Key();
  });
  beforeEach(() => {
    relay = new Relay(secret, [returnKey]);
    seen = [];
    unsubscribe = relay.subscribe(unitId, (frame) => seen.push(frame) > 0);
  });

  const attempt = (dispatch: number) => ({ unitId, dispatch, nodeId });
  const open = (dispatch: number) =>
    relay.open(attempt(dispatch), makeChannelToken(secret, attempt(dispatch)));
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
      seen.map(({ frame, dispatch, node }) => [frame, dispatch, node]),
      sent.map((frame) => [frame, 1, nodeId]),
    );
    const digest = ['one ', 'two'].reduce(extendStreamDigest, emptyStreamDigest);
    assert.deepEqual(relay.relayed(unitId, 1), {
      text: 'one two',
      streamDigest: digest,
      ended: true,
      deltaFrames: 2,
    });
    assert.equal(relay.relayed(unitId, 2), null);
    unsubscribe();
    assert.equal(relay.relayed(unitId, 1), null);
  });

  it('counts the frames of text that somebody took', async () => {
    let isThere = true;
    relay.subscribe(unitId, () => isThere);
    const accept = open(1);
    const frames = await sealer(1);
    for (const frame of [frames.keyFrame, frames.delta('one '), frames.delta('')]) accept(frame);
    isThere = false;
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

  it('takes nothing for a unit that nobody waits for', () => {
    unsubscribe();
    assert.throws(() => open(1), coded('relay.superseded'));
  });

  it('takes nothing more once Validate has compared', async () => {
    const accept = open(1);
    const frames = await sealer(1);
    accept(frames.keyFrame);
    accept(frames.delta('one'));
    assert.equal(relay.relayed(unitId, 1)?.text, 'one');
    assert.throws(() => accept(frames.delta(' more')), coded('relay.superseded'));
    assert.equal(relay.relayed(unitId, 1)?.text, 'one');
  });

  it('takes frames by the token of exactly that attempt', () => {
    const token = makeChannelToken(secret, attempt(1));
    assert.throws(() => relay.open(attempt(2), token), coded('relay.forbidden'));
    const other = { ...attempt(1), nodeId: formatNodeId(randomBytes(32)) };
    assert.throws(() => relay.open(other, token), coded('relay.forbidden'));
    assert.throws(() => relay.open(attempt(1), ''), coded('relay.forbidden'));
  });

  it('lets a later attempt replace an earlier one, never the other way round', async () => {
    const first = open(1);
    const frames = await sealer(1);
    first(frames.keyFrame);
    open(2);
    assert.throws(() => first(frames.delta('late')), coded('relay.superseded'));
    assert.throws(() => open(1), coded('relay.superseded'));
    assert.throws(() => open(2), coded('relay.superseded'));
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
