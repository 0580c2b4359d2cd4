import type { Connection } from './connection.ts';
import { CliError, EXIT, type ExitCode } from './errors.ts';

/** Longer than the gateway waits for a request to be cancelled. */
const ANSWER_MS_MAX = 30_000;

type Method = 'GET' | 'POST' | 'DELETE';

/** HTTP's word for: not now. */
const UNAVAILABLE = 503;

/** The gateway, as the command line talks to it. Failures are CliErrors with the API's code. */
export class Api {
  readonly url: string;
  readonly #key: string | undefined;

  constructor({ url, key }: Connection) {
    this.url = url;
    this.#key = key;
  }

  get<Answer>(path: string): Promise<Answer> {
    return this.#json('GET', path);
  }

  post<Answer>(path: string, body?: object): Promise<Answer> {
    return this.#json('POST', path, body);
  }

  delete<Answer>(path: string): Promise<Answer> {
    return this.#json('DELETE', path);
  }

  /** An answer that comes in pieces, from its first byte on. */
  async stream(path: string, body: object): Promise<Response> {
    return this.#accepted(await this.#send('POST', path, body));
  }

  async #json<Answer>(method: Method, path: string, body?: object): Promise<Answer> {
    const signal = AbortSignal.timeout(ANSWER_MS_MAX);
    const response = await this.#accepted(await this.#send(method, path, body, signal));
    return (await response.json().catch((cause: unknown) => {
      // It isn't JSON; anything else is a connection that broke in the middle.
      throw cause instanceof SyntaxError
        ? this.#notAGateway(response, cause)
        : this.#unreachable(cause);
    })) as Answer;
  }

  #send(method: Method, path: string, body?: object, signal?: AbortSignal) {
    return fetch(`${this.url}${path}`, {
      method,
      headers: {
        ...(this.#key === undefined ? {} : { authorization: `Bearer ${this.#key}` }),
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
      ...(signal ? { signal } : {}),
    }).catch((cause: unknown) => {
      throw this.#unreachable(cause);
    });
  }

  async #accepted(response: Response): Promise<Response> {
    if (response.ok) return response;
    const body = (await response.json().catch(() => undefined)) as
      { error?: { code?: string; message?: string } } | undefined;
    const { code, message } = body?.error ?? {};
    if (!code || !message) throw this.#notAGateway(response);
    const hint =
      response.status === 401
        ? `\nThe gateway is ${this.url}. Pass another key with --key or PLX_API_KEY.`
        : '';
    const isTransient = response.status === UNAVAILABLE;
    throw new CliError(exitCode(response.status), code, message + hint, { isTransient });
  }

  #unreachable(cause: unknown): CliError {
    const { code, message } = (cause as { cause?: NodeJS.ErrnoException }).cause ?? {};
    const reason = code ?? message ?? (cause instanceof Error ? cause.message : String(cause));
    return new CliError(
      EXIT.unreachable,
      'cli.gateway_unreachable',
      `The gateway ${this.url} doesn't answer (${reason}).\n` +
        'Start a network on this machine with `npm start`, or say where it is: --url or ' +
        'PLX_GATEWAY_URL.',
      { cause, isTransient: true },
    );
  }

  #notAGateway({ status }: Response, cause?: unknown): CliError {
    return new CliError(
      EXIT.unreachable,
      'cli.not_a_gateway',
      `${this.url} answered with HTTP ${status}, but not as a gateway does.\n` +
        'Check --url or PLX_GATEWAY_URL.',
      // What stands before a gateway answers for it while it is away.
      { cause, isTransient: status === UNAVAILABLE },
    );
  }
}

function exitCode(httpStatus: number): ExitCode {
  if (httpStatus === 401) return EXIT.unreachable;
  if (httpStatus === 404) return EXIT.notFound;
  return httpStatus === 400 || httpStatus === 413 ? EXIT.usage : EXIT.failed;
}
