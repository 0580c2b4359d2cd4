import { BackendFailedError } from './backend.ts';
import { readEvents } from './openai-events.ts';
import { ServerRefusal } from './openai-refusal.ts';

/** Where a server is, and how to talk to it. */
export interface OpenAiHttpOptions {
  /** What OpenAI clients call the base URL; it usually ends with `/v1`. No slash at its end. */
  readonly url: string;
  /** Sent as `Authorization: Bearer`; it never gets into an error. */
  readonly apiKey?: string | undefined;
  /** How long a stream may stay without a byte. */
  readonly stallMs: number;
}

/** How long a server may take to say what it is. */
const ANSWER_MS_MAX = 5_000;
/** Of what is read besides streams; lists of models are long, but not that long. */
const BODY_BYTES_MAX = 1024 * 1024;

/**
 * HTTP to one OpenAI-compatible server, on the platform's own `fetch`
 * (docs/decisions/0011-openai-backend.md). Errors name the address, the status and the kind of the
 * failure; they never quote what was sent or what came back, which may be somebody's text.
 */
export class OpenAiHttp {
  readonly #options: OpenAiHttpOptions;

  constructor(options: OpenAiHttpOptions) {
    this.#options = options;
  }

  get url(): string {
    return this.#options.url;
  }

  /** The server's own root, where engines have routes that OpenAI doesn't know. */
  get rootUrl(): string {
    return this.url.replace(/\/v1$/, '');
  }

  /**
   * The JSON at an absolute URL. Throws `ServerRefusal` for an HTTP status other than 200, and
   * `BackendFailedError` for a server that can't be reached or answers with something else.
   */
  async getJson(url: string): Promise<unknown> {
    const response = await this.#fetch(url, {}, AbortSignal.timeout(ANSWER_MS_MAX));
    const text = await readAtMost(response, BODY_BYTES_MAX).catch((cause: unknown) => {
      throw cause instanceof BackendFailedError ? cause : this.#lost(cause);
    });
    const value = parseJson(text);
    if (response.status !== 200) throw new ServerRefusal(response.status, value);
    if (value !== undefined) return value;
    throw new BackendFailedError(
      `${url} was answered with something else than JSON. Is PLX_OPENAI_URL the base URL of an ` +
        'OpenAI-compatible server, such as http://127.0.0.1:8000/v1?',
    );
  }

  /**
   * Posts JSON and gives the data of each server-sent event, without the closing `[DONE]`. To stop
   * reading closes the connection. Throws as `getJson`, for a stream that stalls or exceeds
   * `bytesMax`, and the reason of `signal` when it aborts.
   */
  async *postForEvents(
    path: string,
    body: object,
    bytesMax: number,
    signal: AbortSignal,
  ): AsyncGenerator<string, void, void> {
    const connection = new AbortController();
    const { stallMs } = this.#options;
    let stalled = false;
    const watchdog = setTimeout(() => {
      stalled = true;
      connection.abort();
    }, stallMs);
    try {
      const init = {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      };
      const both = AbortSignal.any([signal, connection.signal]);
      const response = await this.#fetch(`${this.url}${path}`, init, both);
      if (response.status !== 200) {
        const said = parseJson(await readAtMost(response, BODY_BYTES_MAX));
        throw new ServerRefusal(response.status, said);
      }
      assertEventStream(response);
      yield* readEvents(response.body ?? emptyBody(), bytesMax, () => watchdog.refresh());
    } catch (error) {
      signal.throwIfAborted();
      if (stalled) throw stallError(stallMs);
      if (error instanceof ServerRefusal || error instanceof BackendFailedError) throw error;
      throw this.#lost(error);
    } finally {
      clearTimeout(watchdog);
      connection.abort();
    }
  }

  async #fetch(url: string, init: RequestInit, signal: AbortSignal): Promise<Response> {
    const { apiKey } = this.#options;
    const headers = new Headers(init.headers);
    // A connection of its own for each: one that was kept may be closed by the server just when it
    // is used again (llama.cpp does so), and nobody could tell that from a failure.
    headers.set('connection', 'close');
    if (apiKey !== undefined) headers.set('authorization', `Bearer ${apiKey}`);
    // Followed blindly, a redirect could carry prompts to a machine that the operator didn't name.
    const response = await fetch(url, { ...init, headers, signal, redirect: 'manual' }).catch(
      (cause: unknown) => {
        throw this.#lost(cause);
      },
    );
    if (response.status < 300 || response.status > 399) return response;
    await response.body?.cancel();
    throw new BackendFailedError(
      `${url} redirects elsewhere (HTTP ${response.status}), and prompts are only sent where the ` +
        'operator says. Set PLX_OPENAI_URL to the final address.',
    );
  }

  #lost(error: unknown): BackendFailedError {
    return new BackendFailedError(
      `The connection to ${this.url} failed (${reasonOf(error)}). Is the server running, and is ` +
        'PLX_OPENAI_URL right?',
    );
  }
}

function stallError(stallMs: number): BackendFailedError {
  return new BackendFailedError(
    `The server sent nothing for ${stallMs / 1_000} s while an answer was due. It may be ` +
      'overloaded: lower PLX_NODE_SLOTS, or look at its log.',
  );
}

function assertEventStream(response: Response): void {
  const type = response.headers.get('content-type') ?? 'none';
  if (/^text\/event-stream\b/i.test(type)) return;
  throw new BackendFailedError(
    `The server answered a streaming request without streaming (its content type isn't ` +
      'text/event-stream). It, or a proxy before it, has to support `"stream": true`.',
  );
}

/**
 * What went wrong below HTTP, by the error codes of the platform alone: a message could hold
 * anything, and the chain of causes ends with the system call.
 */
function reasonOf(error: unknown): string {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ('code' in cause && typeof cause.code === 'string') return cause.code;
    if (cause.message === 'bad port') return 'a port that the fetch standard forbids';
    if (cause.name === 'TimeoutError') return `no answer within ${ANSWER_MS_MAX / 1_000} s`;
  }
  return error instanceof Error ? error.name : 'unknown reason';
}

function emptyBody(): ReadableStream<Uint8Array> {
  return new Response('').body ?? new ReadableStream();
}

async function readAtMost(response: Response, bytesMax: number): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of response.body ?? emptyBody()) {
    bytes += chunk.length;
    if (bytes > bytesMax)
      throw new BackendFailedError(`The server answered with more than ${bytesMax} bytes.`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // Not an error by itself: whoever asked decides what an answer without JSON means.
    return undefined;
  }
}
