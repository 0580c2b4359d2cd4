import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import {
  CANONICAL_DEPTH_MAX,
  canonicalBytes,
  CanonicalError,
  canonicalText,
  isWellFormed,
  parseCanonical,
} from '../../protocol/canonical.ts';
import vectors from '../../protocol/vectors/canonical.json' with { type: 'json' };

const wellFormed = fc.string({ unit: 'binary' });
// Negative zero has no canonical form of its own: it is written, and so read back, as 0.
const json = fc.jsonValue({ stringUnit: 'binary' }).filter((value) => !hasNegativeZero(value));

describe('protocol/canonical', () => {
  for (const { ieee754Hex, canonical } of vectors.numbers)
    it(`writes the number ${ieee754Hex} as ${canonical} (RFC 8785 appendix B)`, () => {
      assert.equal(canonicalText(Buffer.from(ieee754Hex, 'hex').readDoubleBE()), canonical);
    });

  for (const [index, { json: text, canonical }] of vectors.values.entries())
    it(`agrees with vector ${index}`, () => {
      assert.equal(canonicalText(JSON.parse(text)), canonical);
      assert.deepEqual(parseCanonical(Buffer.from(canonical)), JSON.parse(canonical));
    });

  for (const { why, bytesHex } of vectors.rejected)
    it(`refuses to parse: ${why}`, () => {
      assert.throws(() => parseCanonical(Buffer.from(bytesHex, 'hex')), CanonicalError);
    });

  it('round-trips every JSON value, whatever the order of keys', () => {
    fc.assert(
      fc.property(json, (value) => {
        const bytes = canonicalBytes(value);
        assert.deepEqual(parseCanonical(bytes), JSON.parse(JSON.stringify(value)));
        assert.deepEqual(canonicalBytes(reversed(value)), bytes);
      }),
    );
  });

  it('has one text per value: any other byte in it is another value or refused', () => {
    fc.assert(
      fc.property(json, fc.nat(), fc.integer({ min: 1, max: 255 }), (value, at, flip) => {
        const bytes = canonicalBytes(value);
        const index = at % bytes.length;
        const changed = bytes.with(index, (bytes[index] ?? 0) ^ flip);
        let parsed: unknown;
        try {
          parsed = parseCanonical(changed);
        } catch (error) {
          assert.ok(error instanceof CanonicalError);
          return;
        }
        assert.notEqual(canonicalText(parsed), canonicalText(value));
      }),
    );
  });

  it('refuses what JSON would drop or change, and says where', () => {
    const cyclic: { self?: unknown } = {};
    cyclic.self = cyclic;
    const refused: [unknown, RegExp][] = [
      [undefined, /^\$ is a undefined/],
      [{ a: [1, undefined] }, /^\$\.a\[1\] is a undefined/],
      [{ a: undefined }, /^\$\.a is a undefined/],
      [Array(2), /^\$\[0\] is a undefined/],
      [NaN, /^\$ is NaN/],
      [{ a: -Infinity }, /^\$\.a is -Infinity/],
      [1n, /^\$ is a bigint/],
      [Symbol('s'), /^\$ is a symbol/],
      [() => 1, /^\$ is a function/],
      ['\ud800', /^\$ holds a lone surrogate/],
      [{ '\udc00': 1 }, /^a key of \$ holds a lone surrogate/],
      [new Date(0), /^\$ is not a plain object/],
      [new Map(), /^\$ is not a plain object/],
      [{ toJSON: () => 1 }, /^\$ is not a plain object/],
      [cyclic, /nested deeper than 64/],
    ];
    for (const [value, message] of refused)
      assert.throws(
        () => canonicalText(value),
        (error: Error) => {
          assert.ok(error instanceof CanonicalError);
          return message.test(error.message);
        },
      );
  });

  it('bounds nesting, also of hostile bytes, exactly', () => {
    const nested = (depth: number) => Buffer.from('['.repeat(depth) + ']'.repeat(depth));
    assert.ok(Array.isArray(parseCanonical(nested(CANONICAL_DEPTH_MAX))));
    for (const depth of [CANONICAL_DEPTH_MAX + 1, 200_000])
      assert.throws(() => parseCanonical(nested(depth)), CanonicalError);
  });

  it('knows which texts have a UTF-8 form', () => {
    fc.assert(fc.property(wellFormed, (text) => assert.ok(isWellFormed(text))));
    for (const text of ['\ud800', 'a\udfff', '\udc00\ud800', '\ud83d'])
      assert.ok(!isWellFormed(text));
  });

  it("keeps a caller's text out of its messages", () => {
    assert.throws(
      () => parseCanonical(Buffer.from('my secret prompt')),
      (error: Error) => {
        return !error.message.includes('secret');
      },
    );
  });
});

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, member]) => [key, reversed(member)]);
  return Object.fromEntries(entries.toReversed());
}

function hasNegativeZero(value: unknown): boolean {
  if (typeof value === 'object' && value !== null)
    return Object.values(value).some(hasNegativeZero);
  return Object.is(value, -0);
}
