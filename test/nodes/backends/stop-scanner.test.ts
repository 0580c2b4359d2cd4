import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { StopScanner } from '../../../nodes/backends/stop-scanner.ts';

/** What a scanner shows of a text that comes in `chunks`. */
function scan(stops: readonly string[], chunks: readonly string[]) {
  const scanner = new StopScanner(stops);
  const deltas = chunks.map((chunk) => scanner.push(chunk));
  const stopped = scanner.stopped;
  return { text: deltas.join('') + scanner.end(), deltas, stopped };
}

/** The same by definition: is there a stop string that ends at this character, or at the next? */
function scanSlowly(stops: readonly string[], text: string) {
  for (let end = 1; end <= text.length; end += 1) {
    const ending = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    if (ending.length > 0)
      return { text: text.slice(0, end - Math.max(...ending.map((s) => s.length))), stopped: true };
  }
  return { text, stopped: false };
}

describe('the stop scanner', () => {
  const small = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 12 });
  const stops = fc.array(
    fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 4 }),
    {
      maxLength: 3,
    },
  );

  it('cuts as by definition, however the text is split', () => {
    fc.assert(
      fc.property(stops, fc.array(small, { maxLength: 6 }), (stops, chunks) => {
        const { text, stopped } = scan(stops, chunks);
        assert.deepEqual({ text, stopped }, scanSlowly(stops, chunks.join('')));
      }),
      { numRuns: 2000 },
    );
  });

  it('never shows what turns out to belong to the stop string', () => {
    const { deltas, stopped } = scan(['STOP'], ['go S', 'T', 'O', 'P no']);
    assert.deepEqual(deltas, ['go ', '', '', '']);
    assert.equal(stopped, true);
  });

  it('shows what only looked like a stop string', () => {
    assert.deepEqual(scan(['STOP'], ['S', 'TO', 'ne']).deltas, ['', '', 'STOne']);
    assert.equal(scan(['STOP'], ['the ST']).text, 'the ST');
  });

  it('passes everything on without stop strings', () => {
    assert.deepEqual(scan([], ['a', '', 'b']).deltas, ['a', '', 'b']);
  });
});
