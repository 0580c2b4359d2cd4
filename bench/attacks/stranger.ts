import { sign } from 'node:crypto';
import proto from '@temporalio/proto';
import { openTicket } from '../../crypto/ticket.ts';
import {
  exportSpki,
  generateRsa,
  nodeKeysOf,
  type KeyPair,
  type NodeKeys,
} from '../../crypto/keys.ts';
import { signBinding, type OperatorKey } from '../../crypto/operator.ts';
import { canonicalBytes } from '../../protocol/canonical.ts';
import type { RunningAttempt } from '../../protocol/presence.ts';
import type { RequesterKey } from '../../protocol/receive.ts';
import { nodeQueue } from '../../protocol/queues.ts';
import type { EdgeAddress, Told, Work } from './attack.ts';
import { privatePem, signingRequest, type Credentials } from './certificates.ts';
import { GrpcAttacker } from './grpc.ts';
import { bodyOf, exchange, request } from './raw.ts';

const { PollActivityTaskQueueRequest, PollActivityTaskQueueResponse } =
  proto.temporal.api.workflowservice.v1;

const BINDING_SECONDS = 3_600;
const HEARTBEAT_MS = 2_000;
const ENROL_TRIES_MAX = 20;
const RETRY_MS = 500;

export interface StrangerOptions {
  readonly name: string;
  readonly operatorKey: OperatorKey;
  readonly chainId: number;
  readonly model: { readonly id: string; readonly digest: string };
  readonly joinToken?: string | undefined;
}

/** Strangers in league have one for all: it saves them the time to make others. */
let encryption: Promise<KeyPair> | undefined;

/** What a heartbeat has to answer. */
export interface Challenge {
  readonly sequence: number;
  readonly nonce: string;
}

/**
 * A node that joins as any stranger may, with keys and an operator of its own, and from then on
 * holds to nothing. It trusts no code of the network's nodes: it speaks the protocol by itself.
 */
export class Stranger {
  readonly keys: NodeKeys;
  readonly credentials: Credentials;
  readonly grpc: GrpcAttacker;
  readonly #edge: EdgeAddress;
  readonly #options: StrangerOptions;
  #challenge: Challenge | undefined;
  #returnKey: RequesterKey | undefined;
  #running: readonly RunningAttempt[] = [];
  #beating: NodeJS.Timeout | undefined;

  private constructor(
    edge: EdgeAddress,
    options: StrangerOptions,
    keys: NodeKeys,
    credentials: Credentials,
  ) {
    this.#edge = edge;
    this.#options = options;
    this.keys = keys;
    this.credentials = credentials;
    this.grpc = new GrpcAttacker(edge, credentials);
  }

  /** Makes keys and has them certified. @throws Error when the network takes no strangers. */
  static async enrol(edge: EdgeAddress, options: StrangerOptions): Promise<Stranger> {
    encryption ??= generateRsa();
    const keys = nodeKeysOf(await generateRsa(), await encryption);
    const { joinToken } = options;
    const body = { csr: signingRequest(keys), ...(joinToken && { joinToken }) };
    const { certificate } = await patiently('enrol', () =>
      exchange(edge, request('POST', '/v1/enroll', body)),
    );
    const credentials = { key: privatePem(keys), cert: String(certificate) };
    return new Stranger(edge, options, keys, credentials);
  }

  /** Registers, and so may be measured. @throws Error when it is refused. */
  async register(): Promise<void> {
    const answer = await patiently('register', async () =>
      this.post('/v1/node/register', await this.registration()),
    );
    this.#challenge = answer['challenge'] as Challenge;
    this.#returnKey = answer['returnKey'] as RequesterKey;
  }

  /** A registration and its signature. @param changed of what it claims, before it is signed. */
  async registration(changed: object = {}) {
    const { keys } = this;
    const { name, operatorKey, chainId, model } = this.#options;
    const expiresAt = Math.floor(Date.now() / 1_000) + BINDING_SECONDS;
    const registration = {
      nodeId: keys.nodeId,
      name,
      tier: 1,
      workloadClasses: ['ai.inference'],
      modelId: model.id,
      modelDigest: model.digest,
      engine: 'instant/1',
      tokensPerSecond: 1_000,
      slots: 4,
      signingKey: exportSpki(keys.signing.publicKey).toString('base64'),
      encryptionKey: exportSpki(keys.encryption.publicKey).toString('base64'),
      issuedAtMs: Date.now(),
      binding: await signBinding(operatorKey, { chainId, nodeId: keys.nodeId, expiresAt }),
      ...changed,
    };
    const bytes = canonicalBytes(registration);
    const signature = sign('sha256', bytes, keys.signing.privateKey).toString('base64url');
    return { registration, signature };
  }

  /** Answers a challenge: the one that is due, unless it is given another. */
  async heartbeat(challenge: Challenge | undefined = this.#challenge): Promise<Told> {
    const body = { ready: true, running: this.#running, ...challenge };
    const told = await this.post('/v1/node/heartbeat', body);
    const { challenge: next } = parsed(told) as { challenge?: Challenge };
    if (next) this.#challenge = next;
    return told;
  }

  /** The nonce that is due. */
  get challenge(): Challenge | undefined {
    return this.#challenge;
  }

  /** What results are sealed to besides the requester's key. */
  get returnKey(): RequesterKey {
    if (!this.#returnKey) throw new Error('It has not registered.');
    return this.#returnKey;
  }

  /** Sends heartbeats from now on. */
  beat(): void {
    this.#beating ??= setInterval(() => {
      this.heartbeat().catch(() => undefined);
    }, HEARTBEAT_MS);
  }

  /** Sends something to one of the routes, and closes the connection. */
  post(path: string, body: string | object, headers: Record<string, string> = {}): Promise<Told> {
    return this.send(request('POST', path, body, headers));
  }

  /** Sends bytes under its certificate. */
  send(bytes: string | Buffer, patienceMs = 5_000): Promise<Told> {
    return exchange(this.#edge, bytes, { credentials: this.credentials, patienceMs });
  }

  /** Polls its own queue. @returns null when it got nothing for as long as it waited. */
  async poll(patienceMs: number): Promise<Work | null> {
    const poll = PollActivityTaskQueueRequest.encode({
      namespace: 'default',
      taskQueue: { name: nodeQueue(this.keys.nodeId) },
      identity: 'stranger',
    }).finish();
    const told = await this.grpc.call('PollActivityTaskQueue', poll, { patienceMs });
    const { message: body } = told;
    const task = body ? PollActivityTaskQueueResponse.decode(body) : undefined;
    const [input] = task?.input?.payloads ?? [];
    if (!task?.taskToken?.length || !input?.data) return null;
    const { ticket: sealed } = JSON.parse(Buffer.from(input.data).toString('utf8')) as {
      ticket: string;
    };
    const ticket = await openTicket(sealed, this.keys.encryption.privateKey);
    const { unitId, dispatch, channelToken } = ticket;
    this.#running = [{ unitId, dispatch }];
    return { owner: this, taskToken: task.taskToken, unitId, attempt: dispatch, channelToken };
  }

  /** Says goodbye, as an honest node does. */
  async leave(): Promise<void> {
    clearInterval(this.#beating);
    await this.post('/v1/node/leave', {});
    this.grpc.close();
  }
}

function parsed(told: Told): Record<string, unknown> {
  try {
    return JSON.parse(bodyOf(told)) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/** A network that is busy, or slows newcomers down, is asked again. */
async function patiently(what: string, ask: () => Promise<Told>) {
  for (let attempt = 1; ; attempt += 1) {
    const told = await ask();
    if (told.status === 'HTTP 200') return parsed(told);
    if (attempt === ENROL_TRIES_MAX || (told.code !== 'edge.too_many' && told.code !== null))
      throw new Error(`The stranger could not ${what}: ${told.status} ${told.code ?? ''}`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
