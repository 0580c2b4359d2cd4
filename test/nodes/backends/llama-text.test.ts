import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { TokenDecoder } from '../../../nodes/backends/llama-text.ts';

describe('the token decoder', () => {
  /** Tokens that are single bytes: every character of more than one is spread. */
  const bytes = () =>
    new TokenDecoder<number>((tokens) => new TextDecoder().decode(Uint8Array.from(tokens)));
  const decode = (tokens: Iterable<number>): string[] => {
    const decoder = bytes();
    return [...tokens].map((token) => decoder.push(token));
  };

  it('gives back any text, in whole characters', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        // The decoder can't know that a last replacement character is meant as one, and a byte
        // order mark at the start isn't text for the decoder that stands in for the tokenizer.
        fc.pre(!/\uFFFD$|\uFEFF/.test(text));
        const deltas = decode(new TextEncoder().encode(text));
        assert.equal(deltas.join(''), text);
        assert.ok(deltas.every((delta) => !/\p{Surrogate}/u.test(delta)));
      }),
    );
  });

  it('waits for the last byte of a character', () => {
    assert.deepEqual(decode([0x61, 0xf0, 0x9f, 0x98, 0x80, 0x62]), ['a', '', '', '', '😀', 'b']);
  });

  it('shows whole characters of a token that ends within another one', () => {
    const tokens = [
      [0xf0, 0x9f],
      [0x98, 0x80, 0xf0],
      [0x9f, 0x98, 0x80],
    ];
    const decoder = new TokenDecoder<number[]>((tokens) =>
      new TextDecoder().decode(Uint8Array.from(tokens.flat())),
    );
    assert.deepEqual(
      tokens.map((token) => decoder.push(token)),
      ['', '😀', '😀'],
    );
  });

  it('marks bytes that are no character, once that is certain', () => {
    assert.deepEqual(decode([0xff, 0x61]), ['', '\uFFFDa']);
  });

  it('leaves out a character that is never finished', () => {
    assert.equal(decode([0x61, 0xf0, 0x9f, 0x98]).join(''), 'a');
  });

  it('tells the tokenizer which tokens came before', () => {
    const seen: [number[], number[]][] = [];
    const decoder = new TokenDecoder<number>((tokens, previous) => {
      seen.push([[...tokens], [...previous]]);
      return 'x';
    });
    for (const token of [1, 2, 3]) decoder.push(token);
    assert.deepEqual(seen, [
      [[1], []],
      [[2], [1]],
      [[3], [1, 2]],
    ]);
  });
});
