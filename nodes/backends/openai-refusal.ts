import { z } from 'zod';
import { BackendFailedError, ContextExceededError, InvalidRequestError } from './backend.ts';
import type { GenerateRequest } from './backend.ts';

/** OpenAI's error object, as vLLM, llama.cpp, Ollama and others fill it; older vLLM has it flat. */
const detailSchema = z.object({
  message: z.string().catch(''),
  type: z.string().nullish().catch(null),
  code: z.union([z.string(), z.number()]).nullish().catch(null),
  param: z.string().nullish().catch(null),
  n_prompt_tokens: z.int().nullish().catch(null),
});
type Detail = z.infer<typeof detailSchema>;

/** A name that a server may have given to an error; anything else could be somebody's text. */
const IDENTIFIER = /^[\w.-]{1,60}$/;
/** How servers say that a prompt is too long: OpenAI, llama.cpp; vLLM and SGLang; older ones. */
const OVERFLOW_NAMES = ['context_length_exceeded', 'exceed_context_size_error'];
const OVERFLOW_TEXT =
  /context (length|window|size)|longer than the (maximum )?model|prompt.{0,20} too long/i;
const PROMPT_TOKENS_TEXT = /(\d+) (?:input tokens|in the messages)|request \((\d+) tokens\)/i;

/** A server's refusal: an HTTP status, or an error object within a stream. */
export class ServerRefusal extends Error {
  override readonly name = 'ServerRefusal';
  readonly status: number;
  readonly #detail: Detail;

  /** @param said the parsed answer, of any shape. Its message stays in here. */
  constructor(status: number, said: unknown) {
    super(`The server refused with status ${status}.`);
    const nested = z.object({ error: z.unknown() }).safeParse(said);
    const error = nested.success ? nested.data.error : said;
    const detail = detailSchema.safeParse(typeof error === 'string' ? { message: error } : error);
    this.#detail = detail.success ? detail.data : { message: '' };
    this.status = status;
  }

  /** Of an error object in a stream that began well; it may carry the status it would have had. */
  static inStream(said: object): ServerRefusal {
    const { code } = new ServerRefusal(500, said).#detail;
    const isStatus = typeof code === 'number' && code >= 400 && code <= 599;
    return new ServerRefusal(isStatus ? code : 500, said);
  }

  /**
   * As the contract of backends has it. A status says whose fault it is: 400 and 422 that of this
   * request, since a trial with the same fields was answered before the node took work; all others
   * that of the server or its operator.
   */
  toBackendError(request: GenerateRequest, contextTokens: number): Error {
    if (this.status === 400 || this.status === 413 || this.status === 422) {
      if (this.#isOverflow()) return this.#contextExceeded(request, contextTokens);
      if (this.status !== 413 && !this.#isAboutModel())
        return new InvalidRequestError(
          `The server can't run this request (${this.#words()}). Some models need user and ` +
            'assistant to alternate, or take no system message.',
        );
    }
    return this.toBackendFailed();
  }

  /** As a failure of the server, whatever was asked of it. */
  toBackendFailed(): BackendFailedError {
    return new BackendFailedError(`The server answered ${this.#words()}. ${advice(this.status)}`);
  }

  #isOverflow(): boolean {
    const { code, message, type } = this.#detail;
    const names = [code, type].map(String);
    return names.some((name) => OVERFLOW_NAMES.includes(name)) || OVERFLOW_TEXT.test(message);
  }

  #isAboutModel(): boolean {
    return this.#detail.param === 'model' || this.#detail.code === 'model_not_found';
  }

  #contextExceeded({ maxTokens, messages }: GenerateRequest, contextTokens: number): Error {
    const { message, n_prompt_tokens: counted } = this.#detail;
    const match = PROMPT_TOKENS_TEXT.exec(message);
    const promptTokens = counted ?? Number(match?.[1] ?? match?.[2] ?? messages.length);
    return new ContextExceededError({ promptTokens, maxTokens, contextTokens });
  }

  #words(): string {
    const { code, type } = this.#detail;
    const names = [type, code].filter(
      (name): name is string => typeof name === 'string' && IDENTIFIER.test(name),
    );
    return [`HTTP ${this.status}`, ...new Set(names)].join(' ');
  }
}

function advice(status: number): string {
  if (status === 401 || status === 403) return 'Set PLX_OPENAI_API_KEY to a key that it takes.';
  if (status === 404) return 'Check PLX_OPENAI_URL (with /v1) and PLX_OPENAI_MODEL.';
  if (status === 413) return 'Raise the size of request bodies that it, or its proxy, takes.';
  if (status === 429) return 'It is busy: lower PLX_NODE_SLOTS, or keep other users off it.';
  return 'Look at its log.';
}
