import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { MalformedRequestError } from '../../gateway/errors.ts';
import { deliveryOf, extrasOf, maxTokensOf, payloadOf } from '../../gateway/inference-request.ts';
import { parseTextRequest } from '../../gateway/text-completions.ts';

const body = { model: 'base', prompt: 'Once upon a time' };

function malformed(changed: object): MalformedRequestError {
  try {
    parseTextRequest({ ...body, ...changed });
  } catch (error) {
    assert.ok(error instanceof MalformedRequestError, String(error));
    return error;
  }
  return assert.fail(`accepted: ${JSON.stringify(changed)}`);
}

describe('gateway/text-completions', () => {
  it('seals the prompt as it is, with the defaults of sampling', () => {
    const request = parseTextRequest(body);
    assert.deepEqual(payloadOf(request), {
      prompt: body.prompt,
      temperature: 1,
      topP: 1,
      stop: [],
    });
    assert.deepEqual(extrasOf(request), { features: ['completion'] });
    assert.equal(maxTokensOf(request), 16);
    assert.equal(deliveryOf(request), 'validated');
  });

  it('takes a list of one prompt for the prompt', () => {
    assert.equal(parseTextRequest({ ...body, prompt: ['x'] }).prompt, 'x');
  });

  it('takes what OpenAI has in common for chats, and log probabilities as a number', () => {
    const fields = { n: 2, logprobs: 0, stop: '.', temperature: 0, max_tokens: 4, echo: false };
    const request = parseTextRequest({ ...body, ...fields, best_of: null, suffix: null });
    const sampling = { temperature: 0, topP: 1, stop: ['.'], logprobs: 0 };
    assert.deepEqual(payloadOf(request), { prompt: body.prompt, ...sampling });
    const features = ['choices', 'completion', 'logprobs'];
    assert.deepEqual(extrasOf(request), { choices: 2, features });
  });

  it('streams early, unless it comes whole', () => {
    const delivery = (fields: object) =>
      deliveryOf(parseTextRequest({ ...body, stream: true, ...fields }));
    assert.deepEqual([delivery({}), delivery({ n: 2 })], ['early', 'validated']);
    assert.deepEqual(
      [delivery({ logprobs: 0 }), delivery({ logprobs: null })],
      ['validated', 'early'],
    );
  });

  const bad: [string, unknown][] = [
    ['prompt', undefined],
    ['prompt', ''],
    ['prompt', []],
    ['prompt', ['a', 'b']],
    ['prompt', [1, 2, 3]],
    ['prompt', [[1, 2], [3]]],
    ['logprobs', 6],
    ['logprobs', true],
    ['echo', true],
    ['suffix', 'end'],
    ['best_of', 2],
    ['n', 17],
    ['max_tokens', 0],
  ];
  for (const [name, value] of bad)
    it(`names ${name} when it is ${inspect(value)}`, () => {
      const error = malformed({ [name]: value });
      assert.equal(error.param, name);
      assert.ok(error.message.includes(` ${name}: `), error.message);
    });

  for (const name of ['messages', 'max_completion_tokens', 'top_logprobs', 'logit_bias'])
    it(`refuses ${name} rather than ignoring it`, () => {
      assert.match(malformed({ [name]: 1 }).message, new RegExp(`${name}: unsupported$`));
    });
});
