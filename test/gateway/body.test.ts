import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseBody } from '../../gateway/body.ts';
import { GATEWAY_LIMITS } from '../../gateway/limits.ts';
import { CodedError } from '../../protocol/errors.ts';

const parse = (text: string) => parseBody(new TextEncoder().encode(text), GATEWAY_LIMITS);

function refusal(text: string): string {
  try {
    parse(text);
  } catch (error) {
    assert.ok(error instanceof CodedError, String(error));
    assert.equal(error.code, 'receive.malformed_request');
    return error.detail ?? '';
  }
  return assert.fail(`accepted: ${text}`);
}

describe('gateway/body', () => {
  it('reads what JSON.parse reads, as it does', () => {
    const key = fc.string({ unit: 'binary' }).filter((text) => text !== '__proto__');
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { maxDepth: 4 },
        fc.string({ unit: 'grapheme' }),
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.boolean(),
        fc.constant(null),
        fc.array(tie('any'), { maxLength: 4 }),
        fc.dictionary(key, tie('any'), { maxKeys: 4, noNullPrototype: true }),
      ),
    })).any;
    const spaces = fc.constantFrom(undefined, 1, '\t');
    fc.assert(
      fc.property(fc.dictionary(key, value, { noNullPrototype: true }), spaces, (body, space) => {
        const text = JSON.stringify(body, null, space);
        if (/\\u(?:d[89a-f]|0000)/.test(text)) return;
        assert.deepEqual(parse(text), JSON.parse(text));
      }),
      { numRuns: 500 },
    );
  });

  it('finds a key that is there twice, however it is written', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 5 }), fc.boolean(), (key, isEscaped) => {
        const plain = JSON.stringify(key);
        const units = [...key].map((unit) => unit.charCodeAt(0).toString(16).padStart(4, '0'));
        const second = isEscaped ? `"${units.map((hex) => `\\u${hex}`).join('')}"` : plain;
        assert.match(refusal(`{"a b":[{${plain} : 1,\n${second}\t: 2}]}`), /twice|no object/);
      }),
    );
  });

  it('takes the same key in two objects, and as a text', () => {
    const text = '{"a":{"a":["a","a",{"a":"a"}]},"b":"a:","c":"\\"a\\":"}';
    assert.deepEqual(parse(text), JSON.parse(text));
  });

  it('never repeats what it was given', () => {
    for (const text of ['{"secret":1,"secret":2}', '{"secret', 'secret', '{"x":"\\qsecret"}'])
      assert.doesNotMatch(refusal(text), /secret/);
  });

  it('takes text of any language, and emoji', () => {
    const text = '{"a":"Grüße, 世界, 👋🏽","b":"\\ud83d\\udc4b"}';
    assert.deepEqual(parse(text), { a: 'Grüße, 世界, 👋🏽', b: '👋' });
  });

  it('takes a body of the greatest depth, and none that is deeper', () => {
    const nested = (depth: number) => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`;
    parse(nested(GATEWAY_LIMITS.bodyDepth));
    assert.match(refusal(nested(GATEWAY_LIMITS.bodyDepth + 1)), /nested deeper than 32/);
  });
});
