import assert from 'node:assert/strict';
import { createStreamSealer } from '../../crypto/stream.ts';
import { TextStream } from '../../gateway/text-stream.ts';
import { CodedError } from '../../protocol/errors.ts';
import { formatNodeId, formatRequestId } from '../../protocol/ids.ts';
import { requesterKey, returnKey } from '../crypto/fixtures.ts';

const unitId = formatRequestId(new Uint8Array(32).fill(9));

interface Frame {
  readonly dispatch: number;
  readonly attemptNumber: number;
  readonly node: string;
  readonly frame: string;
}

/** The frames of one attempt as its node seals them: key, one per text, end. */
async function attempt(dispatch: number, texts: readonly string[]): Promise<Frame[]> {
  const nodeId = formatNodeId(new Uint8Array(32).fill(dispatch));
  const attemptNumber = numberOf(dispatch);
  const sealer = await createStreamSealer({
    unitId,
    dispatch: attemptNumber,
    nodeId,
    requesterKey: requesterKey.publicJwk,
    returnKey: returnKey.publicJwk,
  });
  const frames = [sealer.keyFrame, ...texts.map((text) => sealer.delta(text)), sealer.end()];
  return frames.map((frame) => ({ dispatch, attemptNumber, node: nodeId, frame }));
}

/** In no order. */
function numberOf(dispatch: number): number {
  return [3_000_000_000, 1_000_000_000, 2_000_000_000][dispatch - 1] ?? assert.fail();
}

function textStream(): TextStream {
  return new TextStream([requesterKey], unitId);
}

/** What each frame adds for the caller. */
function added(stream: TextStream, frames: readonly Frame[]): string[] {
  return frames.map((frame) => stream.next(frame));
}

const SUPERSEDED = new CodedError('gateway.stream_superseded');

describe('gateway/text-stream', () => {
  it('gives the text of each frame, and nothing for key and end', async () => {
    const stream = textStream();
    assert.deepEqual(added(stream, await attempt(1, ['Hel', 'lo 🙂'])), ['', 'Hel', 'lo 🙂', '']);
    assert.equal(stream.rest('Hello 🙂'), '');
  });

  it('gives the rest of a result whose stream broke off', async () => {
    const stream = textStream();
    added(stream, (await attempt(1, ['Hel', 'lo'])).slice(0, 2));
    assert.equal(stream.rest('Hello there'), 'lo there');
    assert.equal(stream.rest('Hello there'), '');
  });

  it('gives the whole result when no frame came', () => {
    assert.equal(textStream().rest('Hello'), 'Hello');
  });

  it('goes on seamlessly with a second attempt at the same text', async () => {
    const stream = textStream();
    added(stream, (await attempt(1, ['Hel', 'lo ', 'there'])).slice(0, 3));
    // In other pieces: only the text counts.
    const second = await attempt(2, ['H', 'ello th', 'ere', '!']);
    assert.deepEqual(added(stream, second), ['', '', 'th', 'ere', '!', '']);
    assert.equal(stream.rest('Hello there!'), '');
  });

  it('sends nothing more once a second attempt differs, and says so in the end', async () => {
    const stream = textStream();
    added(stream, (await attempt(1, ['Hello'])).slice(0, 2));
    const second = await attempt(2, ['Help', ' is', ' near']);
    assert.deepEqual(added(stream, second), ['', '', '', '', '']);
    assert.throws(() => stream.rest('Help is near'), SUPERSEDED);
  });

  it('notices a result that is shorter than what was sent', async () => {
    const stream = textStream();
    added(stream, await attempt(1, ['Hello']));
    assert.throws(() => stream.rest('Hell'), SUPERSEDED);
  });

  it('lets a third attempt continue what the second could not', async () => {
    const stream = textStream();
    added(stream, (await attempt(1, ['Hel'])).slice(0, 2));
    assert.deepEqual(added(stream, await attempt(2, ['Bye'])), ['', '', '']);
    assert.deepEqual(added(stream, await attempt(3, ['Hello'])), ['', 'lo', '']);
  });

  it('stops at a gap, and leaves what is missing to the result', async () => {
    const [key, first, , third, end] = await attempt(1, ['a', 'b', 'c']);
    assert.ok(key && first && third && end);
    const stream = textStream();
    assert.deepEqual(added(stream, [key, first, third, end]), ['', 'a', '', '']);
    assert.equal(stream.rest('abc'), 'bc');
  });

  it('ignores frames of an older attempt', async () => {
    const [key, one, two] = await attempt(1, ['Hel', 'lo']);
    const [newKey, newOne, newTwo] = await attempt(2, ['Hel', 'lo']);
    assert.ok(key && one && two && newKey && newOne && newTwo);
    const stream = textStream();
    const frames = [key, one, newKey, two, newOne, one, newTwo];
    assert.deepEqual(added(stream, frames), ['', 'Hel', '', '', '', '', 'lo']);
  });

  it('takes no frame for that of another attempt, node or request', async () => {
    const frames = await attempt(1, ['Hello']);
    const other = formatNodeId(new Uint8Array(32).fill(7));
    const attemptNumber = numberOf(2);
    const later = frames.map((frame) => ({ ...frame, dispatch: 2, attemptNumber }));
    const elsewhere = frames.map((frame) => ({ ...frame, node: other }));
    for (const forged of [later, elsewhere])
      assert.deepEqual(added(textStream(), forged), ['', '', '']);
    const otherRequest = new TextStream([requesterKey], formatRequestId(new Uint8Array(32)));
    assert.deepEqual(added(otherRequest, frames), ['', '', '']);
  });

  it('takes what is no frame for a gap', async () => {
    const [key, first] = await attempt(1, ['Hello']);
    assert.ok(key && first);
    const stream = textStream();
    assert.deepEqual(added(stream, [key, { ...first, frame: 'no frame' }, first]), ['', '', '']);
    assert.equal(stream.rest('Hello'), 'Hello');
  });
});
