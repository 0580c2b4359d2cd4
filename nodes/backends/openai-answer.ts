import { z } from 'zod';
import { BackendFailedError, ContextExceededError } from './backend.ts';
import type { GenerateRequest, Generation } from './backend.ts';
import type { TokenLogprob } from '../../protocol/result.ts';
import { readLogprobs } from './openai-logprobs.ts';
import { ServerRefusal } from './openai-refusal.ts';
import { StopScanner } from './stop-scanner.ts';

const count = z.int().min(0).max(0xffff_ffff);

/** What matters of a chunk of a chat or a completion; servers add much of their own. */
const chunkSchema = z.object({
  choices: z
    .array(
      z.object({
        index: z.literal(0).optional(),
        delta: z
          .object({
            content: z.string().nullish(),
            tool_calls: z.array(z.unknown()).max(0).nullish(),
          })
          .nullish(),
        /** Of a completion, in the place of a delta. */
        text: z.string().nullish(),
        logprobs: z.unknown().optional(),
        finish_reason: z.string().nullish(),
      }),
    )
    .max(1)
    .nullish(),
  usage: z.object({ prompt_tokens: count, completion_tokens: count }).nullish(),
});

const HIGH_SURROGATE_AT_END = /[\ud800-\udbff]$/;
const LONE_SURROGATE = /\p{Surrogate}/gu;

/**
 * Puts one answer together from the chunks of a stream. It takes only what the contract of backends
 * allows: a server that leaves out how the answer ended, or what it cost, has failed.
 */
export class OpenAiAnswer {
  readonly #request: GenerateRequest;
  readonly #onText: (delta: string) => void;
  readonly #stops: StopScanner;
  #text = '';
  /** Half a character that waits for its other half, in UTF-16. */
  #half = '';
  #pieces = 0;
  readonly #logprobs: TokenLogprob[] = [];
  #finishReason: string | undefined;
  #usage: { prompt_tokens: number; completion_tokens: number } | undefined;

  constructor(request: GenerateRequest, onText: (delta: string) => void) {
    this.#request = request;
    this.#onText = onText;
    this.#stops = new StopScanner(request.stop);
  }

  /** Takes one event. Throws `BackendFailedError`, `ServerRefusal`, and what `onText` throws. */
  push(event: string): void {
    const { choices, usage } = parseChunk(event);
    if (usage) this.#usage = usage;
    const choice = choices?.[0];
    if (!choice) return;
    const { logprobs: top, prompt } = this.#request;
    const text = (prompt === undefined ? choice.delta?.content : choice.text) ?? '';
    if (text !== '') this.#take(text);
    if (top !== undefined) this.#logprobs.push(...readLogprobs(choice.logprobs, top));
    if (choice.finish_reason) this.#finishReason = choice.finish_reason;
  }

  /**
   * The whole answer, once the stream has ended. Throws `BackendFailedError`, and what `onText`
   * throws; `ContextExceededError` when the server cut prompt or answer to fit.
   */
  end(contextTokens: number): Generation {
    const reason = this.#finishReason;
    if (reason === undefined)
      throw new BackendFailedError(
        'The stream ended without a finish_reason, so the answer may be cut anywhere. Look at ' +
          "the server's log; llama-cpp-python needs `--interrupt_requests false`.",
      );
    if (reason !== 'stop' && reason !== 'length')
      throw new BackendFailedError(
        `The server ended the answer for another reason than stop or length` +
          `${/^\w{1,30}$/.test(reason) ? ` (${reason})` : ''}. Switch off its filters and tools.`,
      );
    const usage = this.#usage;
    if (!usage)
      throw new BackendFailedError(
        'The server sent no usage, without which nobody can be charged. It has to honour ' +
          '`stream_options: {"include_usage": true}`: update it, or switch that on in its proxy.',
      );
    this.#assertCounts(reason, usage, contextTokens);
    this.#show(this.#stops.end());
    if (this.#request.logprobs !== undefined && this.#text && this.#logprobs.length === 0)
      throw new BackendFailedError('The server told no log probabilities, which were asked for.');
    return this.#generation(this.#stops.stopped ? 'stop' : reason);
  }

  /** What there is when the caller aborts. */
  cancelled(): Generation {
    this.#show(this.#stops.end());
    return this.#generation('cancelled');
  }

  #take(text: string): void {
    if (this.#finishReason !== undefined)
      throw new BackendFailedError('The server sent text after its finish_reason.');
    if (this.#stops.stopped)
      throw new BackendFailedError(
        'The server went on after a stop string. It has to support `stop`: update it.',
      );
    this.#pieces += 1;
    const joined = this.#half + text;
    this.#half = HIGH_SURROGATE_AT_END.exec(joined)?.[0] ?? '';
    const whole = joined.slice(0, joined.length - this.#half.length);
    this.#show(this.#stops.push(whole.replace(LONE_SURROGATE, '\uFFFD')));
  }

  #show(delta: string): void {
    if (delta === '') return;
    this.#text += delta;
    this.#onText(delta);
  }

  /** Refuses here, where nobody is blamed, what Validate would refuse (protocol/validate.ts). */
  #assertCounts(
    reason: 'stop' | 'length',
    usage: { prompt_tokens: number; completion_tokens: number },
    contextTokens: number,
  ): void {
    const { maxTokens } = this.#request;
    const { prompt_tokens: promptTokens, completion_tokens: completionTokens } = usage;
    if (promptTokens + maxTokens > contextTokens)
      throw new ContextExceededError({ promptTokens, maxTokens, contextTokens });
    if (completionTokens > maxTokens)
      throw new BackendFailedError(
        `The server made ${completionTokens} tokens where ${maxTokens} were asked for: it ` +
          'ignores `max_tokens`, or counts wrongly.',
      );
    if (reason === 'length' && completionTokens < maxTokens && !this.#stops.stopped)
      throw new BackendFailedError(
        `The server cut the answer after ${completionTokens} of ${maxTokens} tokens. It has a ` +
          'limit of its own: raise it, or set PLX_CONTEXT_TOKENS to what it really takes.',
      );
  }

  #generation(finishReason: Generation['finishReason']): Generation {
    const completionTokens = this.#usage?.completion_tokens ?? this.#pieces;
    // Some also tell of the tokens of a stop string, or of those that end the answer.
    const logprobs = this.#logprobs.slice(0, completionTokens);
    return {
      text: this.#text,
      tokenIds: null,
      promptTokens: this.#usage?.prompt_tokens ?? 0,
      completionTokens,
      finishReason,
      ...(this.#request.logprobs === undefined ? {} : { logprobs }),
    };
  }
}

function parseChunk(event: string): z.infer<typeof chunkSchema> {
  let value: unknown;
  try {
    value = JSON.parse(event);
  } catch {
    // The parser's message quotes the text; it goes no further.
    throw new BackendFailedError('The server sent an event that is not whole JSON.');
  }
  if (typeof value === 'object' && value !== null && 'error' in value && value.error !== null)
    throw ServerRefusal.inStream(value);
  const chunk = chunkSchema.safeParse(value);
  if (chunk.success) return chunk.data;
  const places = chunk.error.issues.map((issue) => issue.path.join('.') || '(top level)');
  throw new BackendFailedError(
    `The server sent an event that is no chunk of a completion with one choice and no tool ` +
      `calls; wrong at: ${places.slice(0, 3).join(', ')}.`,
  );
}
