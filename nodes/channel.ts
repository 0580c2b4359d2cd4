import { sign } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, type Dispatcher } from 'undici';
import type { DispatchContext } from '../crypto/channel.ts';
import type { NodeKeys } from '../crypto/keys.ts';
import { exportSpki } from '../crypto/keys.ts';
import type { Binding } from '../protocol/binding.ts';
import { canonicalBytes } from '../protocol/canonical.ts';
import {
  COMMAND_CHARACTERS_MAX,
  COMMAND_PING_MS,
  parseCommand,
  type NodeCommand,
} from '../protocol/commands.ts';
import { LineSplitter } from '../protocol/lines.ts';
import type { Challenge, Heartbeat, RunningAttempt } from '../protocol/presence.ts';
import type { Feature, RequesterKey } from '../protocol/receive.ts';
import { EdgeRefusal } from './edge-trouble.ts';

/** What a node claims of itself when it registers. */
export interface NodeClaims {
  readonly name: string;
  /** By which its operator has signed for it. */
  readonly binding: Binding;
  /** Hardware tier, 1 to 5. */
  readonly tier: number;
  readonly workloadClasses: readonly string[];
  readonly modelId: string;
  readonly modelDigest: string;
  readonly engine: string;
  /** What its backend can do besides chat. */
  readonly features?: readonly Feature[];
  readonly tokensPerSecond: number;
  readonly slots: number;
  /** Nodes of one operator that name the same machine share its slots; by default its own. */
  readonly machine?: string;
}

/** How a node reaches an edge, and shows who it is. */
export interface EdgeAccess {
  /** `host:port`: the only address that a node knows. */
  readonly address: string;
  /**
   * The node's own key and certificate, and whom it trusts; all PEM. By default it trusts the
   * system's roots. Asked before each call: once it is another one, new connections have it.
   */
  tls(): TlsMaterial;
}

export interface TlsMaterial {
  readonly key: string;
  readonly cert: string;
  readonly ca?: string;
}

/** What the coordinator answers to a registration. */
export interface Registration {
  /** What the first heartbeat answers. */
  readonly challenge: Challenge;
  /** Results are sealed to this key as well as the requester's. */
  readonly returnKey: RequesterKey;
}

/** What the coordinator answers to a heartbeat. */
export interface HeartbeatAnswer {
  /** If not, the node has to register again. */
  readonly isKnown: boolean;
  /** Whether it came too late for its challenge: the fresh one is to be answered, at once. */
  readonly isReplayed?: boolean;
  /** What the next one answers; the same as this one, if it isn't said. */
  readonly challenge?: Challenge;
  /** Why the node gets no more work, if it was removed from the pool. */
  readonly removed?: { readonly code: string; readonly message: string };
  /** `x` of the coordinator's current return key, if it says it. */
  readonly returnKey?: string;
}

/** A node's stream to the requester, by way of the coordinator. Losing it loses no result. */
export interface FrameStream {
  send(frame: string): void;
  /** Resolves once the coordinator has taken all frames, or the stream is lost. */
  close(): Promise<void>;
}

/** A heartbeat that takes longer than this is followed by the next one. */
const PRESENCE_MS_MAX = 3_000;
const REGISTER_MS_MAX = 10_000;
const CONNECT_MS_MAX = 5_000;
/** How long a finished node waits for its last frames to be taken before it returns anyway. */
const CLOSE_MS_MAX = 5_000;
/** A command stream that is silent for longer is dead. */
const SILENCE_MS_MAX = 2.5 * COMMAND_PING_MS;

/**
 * A node's side channel to the coordination plane, over plain outbound HTTPS requests by which an
 * edge knows the node from its certificate: registration, heartbeats, commands and stream frames.
 */
export class Channel {
  readonly #access: EdgeAccess;
  readonly #keys: NodeKeys;
  readonly nodeId: string;
  #connections: { readonly tls: TlsMaterial; readonly agent: Agent } | undefined;

  constructor(access: EdgeAccess, keys: NodeKeys) {
    this.nodeId = keys.nodeId;
    this.#access = access;
    this.#keys = keys;
  }

  /** @throws EdgeRefusal, or Error when the edge can't be reached. */
  async register(claims: NodeClaims): Promise<Registration> {
    const { nodeId, signing, encryption } = this.#keys;
    const registration = {
      nodeId,
      ...claims,
      signingKey: exportSpki(signing.publicKey).toString('base64'),
      encryptionKey: exportSpki(encryption.publicKey).toString('base64'),
      issuedAtMs: Date.now(),
    };
    const signature = sign('sha256', canonicalBytes(registration), signing.privateKey);
    const body = { registration, signature: signature.toString('base64url') };
    const answer = await this.#post('register', body, REGISTER_MS_MAX);
    return this.#okay('register', answer) as Registration;
  }

  /**
   * @param challenge the latest one.
   * @throws Error when the coordinator can't be reached or is in trouble.
   */
  async heartbeat(challenge: Challenge, state: Heartbeat): Promise<HeartbeatAnswer> {
    const answer = await this.#post('heartbeat', { ...state, ...challenge });
    const { code, body } = answer;
    // Anything else is an outage, to be waited out.
    if (code === 'node.unknown') return { isKnown: false };
    const isReplayed = code === 'node.heartbeat_replayed';
    const noted = (isReplayed ? body : this.#okay('heartbeat', answer)) as HeartbeatAnswer;
    return { ...noted, isKnown: true, isReplayed };
  }

  /**
   * Says that the node takes nothing new.
   *
   * @returns the attempts that it was given and that are undecided; some may still be on their way.
   * @throws Error when the coordinator can't be reached or refuses.
   */
  async drain(): Promise<readonly RunningAttempt[]> {
    const answer = this.#okay('drain', await this.#post('drain', {}));
    return (answer as { attempts: RunningAttempt[] }).attempts;
  }

  /** Says that the node is offline from now on. @throws Error as `drain` does. */
  async leave(): Promise<void> {
    this.#okay('leave', await this.#post('leave', {}));
  }

  /**
   * Takes commands for as long as the coordinator sends any. Lines that are no command are passed
   * over.
   *
   * @param signal ends it.
   * @param silenceMsMax after which it is dead; the coordinator's pings are more frequent.
   * @throws Error once the stream has broken, was silent for too long, or was ended.
   */
  async commands(
    onCommand: (command: NodeCommand) => void,
    signal: AbortSignal,
    silenceMsMax = SILENCE_MS_MAX,
  ): Promise<never> {
    const silent = new AbortController();
    const silence = setTimeout(() => silent.abort(new Error('it is silent')), silenceMsMax);
    try {
      const response = await this.#request({
        method: 'GET',
        path: '/v1/node/commands',
        signal: AbortSignal.any([signal, silent.signal]),
      });
      if (response.statusCode !== 200) this.#okay('commands', await answerOf(response));
      const lines = new LineSplitter();
      const decoder = new TextDecoder();
      for await (const bytes of response.body as AsyncIterable<Uint8Array>) {
        silence.refresh();
        for (const line of lines.push(decoder.decode(bytes, { stream: true }))) {
          const command = parseCommand(line);
          if (command) onCommand(command);
        }
        if (lines.pendingCharacters > COMMAND_CHARACTERS_MAX) throw new Error('a line is too long');
      }
      throw new Error('the coordinator has ended it');
    } finally {
      clearTimeout(silence);
      // Whatever ended it: nothing of it is left open.
      silent.abort();
    }
  }

  /**
   * Opens one attempt's stream.
   *
   * @param token the channel token of the attempt's ticket.
   * @param onLost called once if it breaks; the work goes on.
   */
  openStream(
    { unitId, dispatch }: Pick<DispatchContext, 'unitId' | 'dispatch'>,
    token: string,
    onLost: (error: Error) => void,
  ): FrameStream {
    const frames = new PassThrough();
    const given = new AbortController();
    const taken = this.#request({
      method: 'POST',
      path: `/v1/node/units/${unitId}/${dispatch}/frames`,
      headers: { 'content-type': 'application/x-ndjson', authorization: `Bearer ${token}` },
      body: frames,
      signal: given.signal,
      // It is answered at its end, and lasts as long as the attempt.
      headersTimeout: 0,
    })
      .then(async (response) => void this.#okay('frames', await answerOf(response)))
      .catch((error: unknown) => {
        frames.destroy();
        onLost(error instanceof Error ? error : new Error(String(error)));
      });
    frames.on('error', () => undefined);
    return {
      send: (frame) => {
        if (frames.writable) frames.write(`${frame}\n`);
      },
      async close() {
        frames.end();
        await Promise.race([taken, sleep(CLOSE_MS_MAX, undefined, { ref: false })]);
        given.abort(new Error('its end was not taken in time'));
      },
    };
  }

  /** Closes the connections, once what is under way on them has ended. */
  async close(): Promise<void> {
    await this.#connections?.agent.close();
    this.#connections = undefined;
  }

  async #post(what: string, body: object, msMax = PRESENCE_MS_MAX): Promise<Answer> {
    const response = await this.#request({
      method: 'POST',
      path: `/v1/node/${what}`,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(msMax),
    });
    return answerOf(response);
  }

  #okay(what: string, { status, code, body }: Answer): unknown {
    if (status >= 200 && status < 300) return body;
    throw new EdgeRefusal(what, status, code, body);
  }

  #request(options: Dispatcher.RequestOptions): Promise<Dispatcher.ResponseData> {
    const origin = `https://${this.#access.address}`;
    return this.#agent().request({ ...options, origin });
  }

  /** What is under way on older connections goes on; they close with it. */
  #agent(): Agent {
    const tls = this.#access.tls();
    const { tls: before, agent } = this.#connections ?? {};
    if (agent && before?.key === tls.key && before.cert === tls.cert && before.ca === tls.ca)
      return agent;
    void agent?.close();
    const { key, cert, ca } = tls;
    const connect = { key, cert, ...(ca === undefined ? {} : { ca }), timeout: CONNECT_MS_MAX };
    const renewed = new Agent({ connect: { ...connect, minVersion: 'TLSv1.3' } });
    this.#connections = { tls, agent: renewed };
    return renewed;
  }
}

/** An edge's answer, whole. */
interface Answer {
  readonly status: number;
  /** Of docs/errors.md, if it is a refusal. */
  readonly code: string | undefined;
  readonly body: unknown;
}

async function answerOf({ statusCode, body }: Dispatcher.ResponseData): Promise<Answer> {
  const text = await body.text();
  const parsed = parseJson(text) as { error?: { code?: string } } | undefined;
  return { status: statusCode, code: parsed?.error?.code, body: parsed };
}

/** What isn't JSON came from something between here and the edge: its status says enough. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) ?? undefined;
  } catch {
    return undefined;
  }
}
