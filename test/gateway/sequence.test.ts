import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { piecesOf, SentText, Sequence } from '../../gateway/sequence.ts';
import { isWellFormed } from '../../protocol/canonical.ts';
import { CodedError } from '../../protocol/errors.ts';

/** Well-formed, with characters of one and of two code units. */
const text = fc.string({ unit: 'grapheme', maxLength: 40 });

/** All pieces of a text, cut anywhere but within a character. */
const cutInto = (whole: string, widths: readonly number[]): string[] => {
  const characters = Array.from(whole);
  const pieces: string[] = [];
  for (let index = 0; characters.length > 0; index++)
    pieces.push(characters.splice(0, Math.max(1, widths[index % widths.length] ?? 1)).join(''));
  return pieces;
};

const widths = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 });

interface Event {
  readonly number: number;
  readonly text: string | null;
}

/** What a reader gets of answers that are said in pieces. */
function read(answers: readonly (readonly string[])[], after = -1): Event[] {
  const sequence = new Sequence(after);
  const events: Event[] = [];
  const mark = () => {
    const number = sequence.mark();
    if (number !== null) events.push({ number, text: null });
  };
  mark();
  for (const pieces of answers) {
    for (const piece of pieces) {
      const said = sequence.text(piece);
      if (said) events.push(said);
    }
    mark();
  }
  return events;
}

const textIn = (events: readonly Event[]) => events.map((event) => event.text ?? '').join('');

describe('gateway/sequence', () => {
  it('counts code units, and one for each chunk without text', () => {
    assert.deepEqual(read([['a', '🙂'], [], ['bc']]), [
      { number: 0, text: null },
      { number: 1, text: 'a' },
      { number: 3, text: '🙂' },
      { number: 4, text: null },
      { number: 5, text: null },
      { number: 7, text: 'bc' },
      { number: 8, text: null },
    ]);
    assert.equal(new Sequence().text(''), null);
  });

  it('numbers ascend strictly, whatever the pieces', () => {
    const answers = fc.array(fc.array(text, { maxLength: 6 }), { maxLength: 4 });
    fc.assert(
      fc.property(answers, fc.integer({ min: -1, max: 300 }), (said, after) => {
        const numbers = read(said, after).map(({ number }) => number);
        for (const [index, number] of numbers.entries())
          assert.ok(number > (numbers[index - 1] ?? after), numbers.join());
      }),
    );
  });

  it('a stream can be taken up behind any of its numbers, in other pieces', () => {
    const answers = fc.array(text, { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(answers, widths, widths, (whole, first, second) => {
        const events = read(whole.map((answer) => cutInto(answer, first)));
        assert.equal(textIn(events), whole.join(''));
        for (let had = 0; had <= events.length; had++) {
          const after = events[had - 1]?.number ?? -1;
          const more = read(
            whole.map((answer) => cutInto(answer, second)),
            after,
          );
          assert.equal(textIn(events.slice(0, had)) + textIn(more), whole.join(''));
          const marks = (list: readonly Event[]) =>
            list.filter((event) => event.text === null).map(({ number }) => number);
          assert.deepEqual([...marks(events.slice(0, had)), ...marks(more)], marks(events));
        }
      }),
    );
  });

  it('a stream can be taken up behind any code unit', () => {
    fc.assert(
      fc.property(text, widths, (whole, wide) => {
        for (let after = 0; after <= whole.length; after++)
          assert.equal(textIn(read([cutInto(whole, wide)], after)), whole.slice(after));
      }),
    );
  });

  it('text across attempts is that of the result, however often it begins again', () => {
    const attempts = fc.array(fc.record({ share: fc.nat(40), wide: widths }), { maxLength: 5 });
    fc.assert(
      fc.property(text, attempts, fc.nat(60), (whole, tried, after) => {
        const sent = new SentText();
        const sequence = new Sequence();
        const late = new Sequence(after);
        for (const each of [sequence, late]) each.mark();
        let [got, gotLate] = ['', ''];
        const take = (added: string) => {
          got += sequence.text(added)?.text ?? '';
          gotLate += late.text(added)?.text ?? '';
        };
        for (const { share, wide } of tried) {
          sent.restart();
          for (const piece of cutInto(whole, wide).slice(0, share)) take(sent.add(piece));
        }
        take(sent.rest(whole));
        assert.deepEqual([got, gotLate], [whole, whole.slice(after)]);
      }),
    );
  });

  it('attempts that differ never mix: a prefix of one that was sent, or the typed error', () => {
    const attempt = fc.record({ of: fc.array(fc.constantFrom('a', 'b'), { maxLength: 5 }) });
    fc.assert(
      fc.property(fc.array(attempt, { maxLength: 5 }), fc.nat(4), (tried, which) => {
        const sent = new SentText();
        let got = '';
        for (const { of } of tried) {
          sent.restart();
          for (const piece of of) got += sent.add(piece);
          assert.ok(tried.some((each) => each.of.join('').startsWith(got)));
        }
        const result = tried[which]?.of.join('') ?? '';
        try {
          got += sent.rest(result);
        } catch (error) {
          assert.ok(error instanceof CodedError && error.code === 'gateway.stream_superseded');
          assert.ok(!result.startsWith(got));
          return;
        }
        assert.equal(got, result);
      }),
    );
  });

  it('cuts long text into bounded pieces, and no character in two', () => {
    fc.assert(
      fc.property(text, fc.integer({ min: 1, max: 9 }), (whole, charactersMax) => {
        const pieces = piecesOf(whole, charactersMax);
        assert.equal(pieces.join(''), whole);
        for (const piece of pieces) {
          assert.ok(isWellFormed(piece) && piece.length > 0);
          assert.ok(piece.length <= Math.max(2, charactersMax));
        }
      }),
    );
    assert.ok(piecesOf('x'.repeat(100_000)).length > 5);
  });
});
