import assert from 'node:assert/strict';
import { eventLines, type EventOutput } from '../../intake/event-lines.ts';
import { LineSplitter } from '../../protocol/lines.ts';

const frame = (number: number) => ({
  type: 'frame' as const,
  dispatch: number,
  attemptNumber: 1,
  node: 'nd_1',
  frame: 'x'.repeat(1_000),
});

/** Lines, and what they are made of, until `over`. */
function opened(signal: AbortSignal, over: Promise<void>) {
  const outputs: EventOutput[] = [];
  const lines = eventLines(signal, (output) => {
    outputs.push(output);
    return over;
  });
  return { lines, output: outputs[0] ?? assert.fail() };
}

describe('intake/event-lines', () => {
  it('takes no more than is read, and says when it takes more', async () => {
    let end = () => {};
    const over = new Promise<void>((resolve) => (end = resolve));
    const { lines, output } = opened(new AbortController().signal, over);
    let sent = 0;
    const send = () => {
      while (sent < 10_000 && output.emit(frame(sent++)));
      if (sent === 10_000) end();
    };
    output.onReady(send);
    send();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(sent < 500, `${sent} while nobody reads`);
    assert.ok(lines.readableLength < 300_000);
    const numbers: number[] = [];
    const splitter = new LineSplitter();
    for await (const bytes of lines)
      for (const line of splitter.push(String(bytes)))
        numbers.push((JSON.parse(line) as { dispatch: number }).dispatch);
    assert.deepEqual(
      numbers,
      Array.from({ length: 10_000 }, (_, index) => index),
    );
  });

  it('takes nothing once its reader has gone', async () => {
    const gone = new AbortController();
    const { lines, output } = opened(gone.signal, Promise.resolve());
    gone.abort();
    lines.destroy();
    assert.equal(output.emit(frame(1)), false);
    assert.equal(output.signal.aborted, true);
  });
});
