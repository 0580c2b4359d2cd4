import { sign } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
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
import { RETURN_KEY_HEADER, type Heartbeat, type RunningAttempt } from '../protocol/presence.ts';
import type { RequesterKey } from '../protocol/receive.ts';

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
  readonly tokensPerSecond: number;
  readonly slots: number;
  /** Nodes of one operator that name the same machine share its slots; by default its own. */
  readonly machine?: string;
}

/** What the coordinator answers to a registration. */
export interface Registration {
  readonly heartbeatToken: string;
  /** Results are sealed to this key as well as the requester's. */
  readonly returnKey: RequesterKey;
}

/** What the coordinator answers to a heartbeat. */
export interface HeartbeatAnswer {
  /** If not, the node has to register again. */
  readonly isKnown: boolean;
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
/** How long a finished node waits for its last frames to be taken before it returns anyway. */
const CLOSE_MS_MAX = 5_000;
/** A command stream that is silent for longer is dead. */
const SILENCE_MS_MAX = 2.5 * COMMAND_PING_MS;

/**
 * A node's side channel to the coordination plane, over plain outbound HTTP requests: registration,
 * heartbeats and stream frames. It is the only address besides Temporal's that a node knows.
 */
export class Channel {
  readonly #url: string;
  readonly #keys: NodeKeys;

  constructor(url: string, keys: NodeKeys) {
    this.#url = url;
    this.#keys = keys;
  }

  /** @throws Error when the coordinator can't be reached or refuses; the message says which. */
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
    const response = await this.#post('/v1/nodes/register', {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ registration, signature: signature.toString('base64url') }),
    });
    return (await response.json()) as Registration;
  }

  /** @throws Error when the coordinator can't be reached or is in trouble. */
  async heartbeat(token: string, state: Heartbeat): Promise<HeartbeatAnswer> {
    const response = await this.#presence('heartbeat', token, state);
    const text = await response.text();
    if (response.ok) {
      const { removed } = (text === '' ? {} : JSON.parse(text)) as Pick<HeartbeatAnswer, 'removed'>;
      const returnKey = response.headers.get(RETURN_KEY_HEADER);
      return { isKnown: true, ...(removed && { removed }), ...(returnKey && { returnKey }) };
    }
    // The token or the node is unknown there now; anything else is an outage, to be waited out.
    if (response.status === 403 || response.status === 404) return { isKnown: false };
    throw new Error(`the heartbeat was answered with ${response.status}`);
  }

  /**
   * Says that the node takes nothing new.
   *
   * @returns the attempts that it was given and that are undecided; some may still be on their way.
   * @throws Error when the coordinator can't be reached or refuses.
   */
  async drain(token: string): Promise<readonly RunningAttempt[]> {
    const response = await this.#presence('drain', token);
    if (!response.ok) throw new Error(`drain was answered with ${response.status}`);
    return ((await response.json()) as { attempts: RunningAttempt[] }).attempts;
  }

  /** Says that the node is offline from now on. @throws Error as `drain` does. */
  async leave(token: string): Promise<void> {
    const response = await this.#presence('leave', token);
    await response.arrayBuffer();
    if (!response.ok) throw new Error(`leave was answered with ${response.status}`);
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
    token: string,
    onCommand: (command: NodeCommand) => void,
    signal: AbortSignal,
    silenceMsMax = SILENCE_MS_MAX,
  ): Promise<never> {
    const path = `/v1/nodes/${this.#keys.nodeId}/commands`;
    const silent = new AbortController();
    const silence = setTimeout(() => silent.abort(new Error('it is silent')), silenceMsMax);
    try {
      const response = await fetch(`${this.#url}${path}`, {
        headers: { authorization: `Bearer ${token}` },
        signal: AbortSignal.any([signal, silent.signal]),
      });
      if (!response.ok || !response.body)
        throw new Error(`${path} was answered with ${response.status}`);
      const lines = new LineSplitter();
      const decoder = new TextDecoder();
      for await (const bytes of response.body) {
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
    }
  }

  /** Opens one attempt's stream. @param onLost called once if it breaks; the work goes on. */
  openStream(
    { unitId, dispatch, nodeId }: DispatchContext,
    token: string,
    onLost: (error: Error) => void,
  ): FrameStream {
    let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
    const body = new ReadableStream<Uint8Array>({
      start: (started) => void (controller = started),
    });
    const encoder = new TextEncoder();
    const taken = this.#post(`/v1/nodes/${nodeId}/units/${unitId}/${dispatch}/frames`, {
      headers: { 'content-type': 'application/x-ndjson', authorization: `Bearer ${token}` },
      body,
      duplex: 'half',
    }).catch((error: unknown) => {
      controller = undefined;
      onLost(error instanceof Error ? error : new Error(String(error)));
    });
    return {
      send: (frame) => controller?.enqueue(encoder.encode(`${frame}\n`)),
      async close() {
        controller?.close();
        controller = undefined;
        await Promise.race([taken, sleep(CLOSE_MS_MAX, undefined, { ref: false })]);
      },
    };
  }

  #presence(what: 'heartbeat' | 'drain' | 'leave', token: string, body: object = {}) {
    return fetch(`${this.#url}/v1/nodes/${this.#keys.nodeId}/${what}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(PRESENCE_MS_MAX),
    });
  }

  async #post(path: string, init: Omit<RequestInit, 'method'>): Promise<Response> {
    const response = await fetch(`${this.#url}${path}`, { ...init, method: 'POST' });
    if (response.ok) return response;
    throw new Error(`${path} was answered with ${response.status}: ${await response.text()}`);
  }
}
