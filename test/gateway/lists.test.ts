import assert from 'node:assert/strict';
import { z } from 'zod';
import { MalformedRequestError } from '../../gateway/errors.ts';
import { specBody } from '../../gateway/key-body.ts';
import { listOf, textsByName } from '../../gateway/lists.ts';
import { openApiDocument } from '../../gateway/openapi.ts';
import { parseChatRequest } from '../../gateway/openai.ts';

const MANY = 19_990;

/** Wrong elements, and how often any of them was looked at. */
function watched() {
  const seen = { looks: 0 };
  const element = () =>
    new Proxy(
      {},
      {
        get: () => void seen.looks++,
        getPrototypeOf: () => (seen.looks++, Object.prototype),
        ownKeys: () => (seen.looks++, []),
      },
    );
  return { seen, elements: Array.from({ length: MANY }, element) };
}

describe('gateway/lists', () => {
  const user = { role: 'user', content: 'alpha' };

  it('looks at no element behind the first wrong one', () => {
    const { seen, elements } = watched();
    const bodies: [param: string, body: object][] = [
      ['messages.0.role', { messages: elements }],
      ['messages.1.role', { messages: [user, ...elements] }],
      ['messages.0.content', { messages: [{ role: 'user', content: elements }] }],
      ['stop', { messages: [user], stop: elements }],
      ['metadata.0', { messages: [user], metadata: Object.assign({}, elements) }],
    ];
    for (const [param, body] of bodies) {
      seen.looks = 0;
      assert.throws(
        () => parseChatRequest({ model: 'instant', ...body }),
        (error) => error instanceof MalformedRequestError && error.param === param,
        param,
      );
      assert.ok(seen.looks < 20, `${param}: ${seen.looks} looks`);
    }
    seen.looks = 0;
    assert.ok(!specBody.safeParse({ name: 'n', scopes: elements }).success);
    assert.equal(seen.looks, 0);
  });

  it('names one wrong element, or the length', () => {
    const issues = (length: object, value: unknown) => {
      const { error } = listOf(z.int(), length).safeParse(value);
      return error?.issues.map(({ code, path }) => [code, ...path]) ?? [];
    };
    assert.deepEqual(issues({}, [1, 'x', 'y']), [['invalid_type', 1]]);
    assert.deepEqual(issues({ max: 2 }, ['x', 'y', 'z']), [['too_big']]);
    assert.deepEqual(issues({ min: 1 }, []), [['too_small']]);
    assert.deepEqual(issues({}, 'x'), [['invalid_type']]);
    assert.deepEqual(issues({ min: 1, max: 2 }, [1, 2]), []);
  });

  it('gives the elements as they are read', () => {
    const doubled = listOf(z.int().transform((value) => value * 2));
    assert.deepEqual(doubled.parse([1, 2]), [2, 4]);
    assert.deepEqual(textsByName().parse({ a: 'b' }), { a: 'b' });
    for (const wrong of [null, [], 'a', { a: null }])
      assert.ok(!textsByName().safeParse(wrong).success, JSON.stringify(wrong));
  });

  it('is described with its elements', () => {
    const text = JSON.stringify(openApiDocument());
    const message =
      '"messages":{"minItems":1,"type":"array","items":{"oneOf":[{"type":"object","properties":{';
    assert.ok(text.includes(message));
    assert.ok(text.includes('"type":"object","additionalProperties":{"type":"string"}'));
  });
});
