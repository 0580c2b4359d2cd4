import assert from 'node:assert/strict';
import {
  assertGenerateRequest,
  ContextExceededError,
  InvalidRequestError,
  STOP_COUNT_MAX,
  STOP_LENGTH_MAX,
} from '../../../nodes/backends/backend.ts';
import type { GenerateRequest } from '../../../nodes/backends/backend.ts';
import { ask } from './support.ts';

describe('generate requests', () => {
  const valid: Record<string, Partial<GenerateRequest>> = {
    'least values': { maxTokens: 1, temperature: 0, topP: Number.MIN_VALUE, seed: 0 },
    'greatest values': { temperature: 2, topP: 1, seed: 0xffff_ffff },
    'the most and longest stop strings': {
      stop: Array.from({ length: STOP_COUNT_MAX }, () => 'x'.repeat(STOP_LENGTH_MAX)),
    },
  };
  for (const [name, change] of Object.entries(valid))
    it(`takes ${name}`, () => {
      assert.doesNotThrow(() => assertGenerateRequest(ask('hi', change)));
    });

  const invalid: [string, Partial<GenerateRequest>, RegExp][] = [
    ['no messages', { messages: [] }, /messages/],
    ['no tokens', { maxTokens: 0 }, /maxTokens/],
    ['half a token', { maxTokens: 1.5 }, /maxTokens/],
    ['endless tokens', { maxTokens: Infinity }, /maxTokens/],
    ['a negative temperature', { temperature: -0.1 }, /temperature/],
    ['a high temperature', { temperature: 2.1 }, /temperature/],
    ['a temperature that is no number', { temperature: NaN }, /temperature/],
    ['a topP of 0', { topP: 0 }, /topP/],
    ['a topP above 1', { topP: 1.01 }, /topP/],
    ['a negative seed', { seed: -1 }, /seed/],
    ['a seed above 32 bits', { seed: 2 ** 32 }, /seed/],
    ['an empty stop string', { stop: ['a', ''] }, /stop string/],
    ['a long stop string', { stop: ['x'.repeat(STOP_LENGTH_MAX + 1)] }, /stop string/],
    ['half a character as a stop string', { stop: ['\ud83d'] }, /stop string/],
    ['too many stop strings', { stop: Array.from({ length: 17 }, () => 'x') }, /stop must/],
  ];
  for (const [name, change, message] of invalid)
    it(`refuses ${name}`, () => {
      assert.throws(
        () => assertGenerateRequest(ask('hi', change)),
        (error) => error instanceof InvalidRequestError && message.test(error.message),
      );
    });
});

describe('the error of a full context', () => {
  it('carries and tells the counts', () => {
    const error = new ContextExceededError({
      promptTokens: 900,
      maxTokens: 200,
      contextTokens: 1024,
    });
    assert.deepEqual(
      [error.promptTokens, error.maxTokens, error.contextTokens, error.name],
      [900, 200, 1024, 'ContextExceededError'],
    );
    assert.match(error.message, /900 tokens.* 200, .* 1024/);
  });
});
