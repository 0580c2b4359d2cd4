import type { Readable } from 'node:stream';
import { Agent, type Dispatcher } from 'undici';
import { COMMAND_PING_MS } from '../protocol/commands.ts';
import { CodedError, isErrorCode, type ErrorCode } from '../protocol/errors.ts';
import type { NodeId, UnitId } from '../protocol/ids.ts';
import { CHANNEL_TOKEN_HEADER } from '../protocol/side-channel.ts';

const CONNECT_MS_MAX = 3_000;
const ANSWER_MS_MAX = 10_000;
/** A command stream that is silent for longer is dead. */
const COMMANDS_SILENT_MS_MAX = 2.5 * COMMAND_PING_MS;

/** What a coordinator answered: what was asked for, or a refusal with its code. */
export interface Answer {
  readonly status: number;
  /** JSON; undefined where there is none. */
  readonly body: unknown;
  readonly code?: ErrorCode;
}

/** One node's stream of frames for one attempt. */
export interface ForwardedFrames {
  /** Of the coordinator that takes them. */
  readonly coordinatorUrl: string;
  readonly nodeId: NodeId;
  readonly unitId: UnitId;
  /** As the node knows it. */
  readonly dispatch: string;
  readonly channelToken: string;
  readonly lines: AsyncIterable<Buffer>;
  readonly signal: AbortSignal;
}

interface ErrorLog {
  error(fields: object, message: string): void;
}

/** How an edge calls coordinators: by HTTP with its own credential, as a part of the plane. */
export class CoordinatorClient {
  readonly #url: string;
  readonly #authorization: string;
  readonly #log: ErrorLog;
  readonly #agent = new Agent({
    connect: { timeout: CONNECT_MS_MAX },
    headersTimeout: ANSWER_MS_MAX,
    bodyTimeout: ANSWER_MS_MAX,
  });

  /**
   * @param url of the coordinator that is asked for all that isn't one request's.
   * @param edgeToken what edges present to every coordinator.
   */
  constructor(url: string, edgeToken: string, log: ErrorLog) {
    this.#url = url;
    this.#authorization = `Bearer ${edgeToken}`;
    this.#log = log;
  }

  /**
   * Passes a node's call on.
   *
   * @param what such as `heartbeat`.
   * @param body JSON, as the node sent it.
   * @throws CodedError `edge.unavailable`.
   */
  forNode(nodeId: NodeId, what: string, body: Uint8Array): Promise<Answer> {
    return this.#ask({
      method: 'POST',
      path: `/v1/nodes/${nodeId}/${what}`,
      headers: { 'content-type': 'application/json' },
      body,
    });
  }

  /**
   * Asks for something of the edge's own.
   *
   * @param body makes it a POST; by default it is a GET.
   * @returns the answer's JSON.
   * @throws CodedError the coordinator's refusal, or `edge.unavailable`.
   */
  async ask(path: string, body?: object): Promise<unknown> {
    const answer = await this.#ask(
      body === undefined
        ? { method: 'GET', path }
        : {
            method: 'POST',
            path,
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify(body),
          },
    );
    if (answer.code) throw new CodedError(answer.code);
    return answer.body;
  }

  /**
   * The coordinator's commands to a node, for as long as they come.
   *
   * @throws CodedError its refusal, or `edge.unavailable`.
   */
  async commands(nodeId: NodeId, signal: AbortSignal): Promise<Readable> {
    const response = await this.#request({
      method: 'GET',
      path: `/v1/nodes/${nodeId}/commands`,
      bodyTimeout: COMMANDS_SILENT_MS_MAX,
      signal,
    });
    if (response.statusCode === 200) return response.body;
    const { code = 'edge.unavailable' } = await this.#answerOf(response);
    throw new CodedError(code);
  }

  /**
   * Streams frames to the coordinator of their attempt.
   *
   * @throws what `lines` throws, or CodedError `edge.unavailable`.
   */
  async frames(frames: ForwardedFrames): Promise<Answer> {
    const { nodeId, unitId, dispatch, channelToken } = frames;
    let failure: unknown;
    const watched = async function* () {
      try {
        yield* frames.lines;
      } catch (error) {
        failure = error;
        throw error;
      }
    };
    try {
      return await this.#ask({
        origin: frames.coordinatorUrl,
        method: 'POST',
        path: `/v1/nodes/${nodeId}/units/${unitId}/${dispatch}/frames`,
        headers: { 'content-type': 'application/x-ndjson', [CHANNEL_TOKEN_HEADER]: channelToken },
        body: watched() as unknown as Readable,
        // It is answered at its end, and lasts as long as the attempt.
        headersTimeout: 0,
        signal: frames.signal,
      });
    } catch (error) {
      throw failure ?? error;
    }
  }

  /** Ends all calls. */
  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #ask(options: Dispatcher.RequestOptions): Promise<Answer> {
    return this.#answerOf(await this.#request(options));
  }

  async #request(options: Dispatcher.RequestOptions): Promise<Dispatcher.ResponseData> {
    const headers = { ...(options.headers as object), authorization: this.#authorization };
    try {
      return await this.#agent.request({ origin: this.#url, ...options, headers });
    } catch (cause) {
      throw new CodedError('edge.unavailable', undefined, { cause });
    }
  }

  /** Only refusals that are known are passed on; what else went wrong is no node's affair. */
  async #answerOf({ statusCode: status, body }: Dispatcher.ResponseData): Promise<Answer> {
    let parsed: unknown;
    try {
      const text = await body.text();
      parsed = text === '' ? undefined : JSON.parse(text);
    } catch (cause) {
      throw new CodedError('edge.unavailable', undefined, { cause });
    }
    if (status < 300) return { status, body: parsed };
    const code = (parsed as { error?: { code?: string } } | undefined)?.error?.code ?? '';
    if (code === 'edge.unauthenticated')
      this.#log.error({}, 'edge // the coordinator does not take its token');
    if (!isErrorCode(code) || code === 'edge.unauthenticated')
      throw new CodedError('edge.unavailable');
    return { status, body: parsed, code };
  }
}
