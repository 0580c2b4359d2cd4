import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { certificateRequest } from '../crypto/certificate-requests.ts';
import { certifiedNodeId, expiryMs } from '../crypto/certificates.ts';
import type { NodeKeys } from '../crypto/keys.ts';
import { readPrivate, replacePrivate } from '../crypto/private-files.ts';
import { exportPrivatePem } from '../crypto/private-pem.ts';
import {
  certificateAnswerSchema,
  renewAfterMs,
  type CertificateAnswer,
} from '../protocol/certificate-schema.ts';
import { CodedError, isErrorCode, type ErrorCode } from '../protocol/errors.ts';
import type { TlsMaterial } from './channel.ts';
import { connectionAdvice, describe, Reasons } from './edge-trouble.ts';
import type { Log } from './membership.ts';

const CALL_MS_MAX = 15_000;
const ANSWER_BYTES_MAX = 256 * 1024;
const RETRY_MS = 1_000;
const RETRY_MS_MAX = 60_000;
/** Timers don't take more. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Refusals that the same request meets again; what the operator can do about each. */
const FINAL: Partial<Record<ErrorCode, string>> = {
  'node.join_refused': 'Ask the network for a join token, and set PLX_JOIN_TOKEN to it.',
  'edge.node_removed': 'Ask the network for a review: docs/verification.md.',
  'node.certificate_refused':
    'Node and network are of different versions, or the keys are damaged.',
};

export interface IdentityOptions {
  readonly keys: NodeKeys;
  /** Where the keys are; the certificate and the network's CAs are kept beside them. */
  readonly directory: string;
  /** `host:port`. */
  readonly edgeAddress: string;
  /** Whom to trust at the first call, PEM; by default the system's roots. */
  readonly ca?: string | undefined;
  readonly joinToken?: string | undefined;
  readonly log: Log;
  /** Gives up. */
  readonly signal?: AbortSignal;
}

/** Who a node is for edges: a certificate of its signing key, renewed for as long as it runs. */
export interface NodeIdentity {
  /** Its key, its certificate, and whom it trusts; all PEM. */
  tls(): TlsMaterial;
  /** Called after each renewal; the next one doesn't wait for what it does. */
  onRenewed(listener: () => unknown): void;
  /** Ends the renewals. */
  stop(): Promise<void>;
}

/**
 * Has a certificate when it returns: the one that is kept, if it is valid, or a new one. It asks
 * for as long as no edge answers.
 *
 * @throws CodedError `node.join_refused`, `edge.node_removed` or `node.certificate_refused`, with
 * advice; EnvelopeError `key.file_exposed`; the signal's reason.
 */
export async function nodeIdentity(options: IdentityOptions): Promise<NodeIdentity> {
  const identity = new Identity(options);
  await identity.start();
  return identity;
}

interface Kept {
  readonly certificate: string;
  readonly expiresAtMs: number;
}

class Identity implements NodeIdentity {
  readonly #options: IdentityOptions;
  readonly #key: string;
  readonly #stopped = new AbortController();
  readonly #signal: AbortSignal;
  readonly #listeners: (() => unknown)[] = [];
  #renewing: Promise<void> | undefined;
  #kept: Kept | undefined;
  #networkCa: string | undefined;

  constructor(options: IdentityOptions) {
    this.#options = options;
    this.#key = exportPrivatePem(options.keys.signing.privateKey);
    const { signal } = this.#stopped;
    this.#signal = options.signal ? AbortSignal.any([signal, options.signal]) : signal;
  }

  async start(): Promise<void> {
    this.#networkCa = await readPrivate(this.#path('ca.pem'));
    const certificate = await readPrivate(this.#path('certificate.pem'));
    const kept = certificate === undefined ? undefined : this.#read(certificate);
    if (kept) this.#kept = kept.found;
    const renewInMs = kept?.renewInMs ?? (await this.#obtain({ isFirst: true }));
    this.#renewing = this.#renewFrom(renewInMs).catch((error: unknown) => {
      if (!this.#signal.aborted) throw error;
    });
  }

  tls(): TlsMaterial {
    if (!this.#kept) throw new Error('There is no certificate yet.');
    const ca = this.#ca();
    return { key: this.#key, cert: this.#kept.certificate, ...(ca !== undefined && { ca }) };
  }

  onRenewed(listener: () => unknown): void {
    this.#listeners.push(listener);
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#renewing;
  }

  async #renewFrom(firstMs: number): Promise<void> {
    for (let inMs = firstMs; ; inMs = await this.#obtain({ isFirst: false })) {
      const waitMs = Math.min(inMs, TIMER_MS_MAX);
      await sleep(waitMs, undefined, { signal: this.#signal, ref: false });
    }
  }

  /** Asks until it has one. @returns in how many ms to renew it. */
  async #obtain({ isFirst }: { isFirst: boolean }): Promise<number> {
    const { log } = this.#options;
    // A renewal and an enrolment take turns, and may fail for reasons of their own.
    const reasons = { renewal: new Reasons(), enrolment: new Reasons() };
    let retryMs = RETRY_MS;
    for (let attempt = 0; ; attempt++) {
      // An edge may know nothing of this certificate any more: then the key alone has to do.
      const renews = attempt % 2 === 0 && this.#isValid();
      try {
        const answer = await this.#call(renews);
        await this.#keep(answer);
        log.info(renews ? 'node // certificate renewed' : 'node // enrolled');
        for (const listener of this.#listeners) void this.#tell(listener);
        return Math.max(RETRY_MS, renewAfterMs(answer));
      } catch (error) {
        this.#signal.throwIfAborted();
        const advice = error instanceof CodedError ? FINAL[error.code] : undefined;
        if (isFirst && error instanceof CodedError && advice !== undefined)
          throw new CodedError(error.code, advice, { cause: error });
        this.#warn(error, advice, reasons[renews ? 'renewal' : 'enrolment']);
        const pauseMs = retryMs * (0.5 + Math.random() / 2);
        await sleep(pauseMs, undefined, { signal: this.#signal }).catch(() => undefined);
        this.#signal.throwIfAborted();
        retryMs = Math.min(2 * retryMs, RETRY_MS_MAX);
      }
    }
  }

  /** Once per reason, not at every attempt. */
  #warn(error: unknown, refused: string | undefined, reasons: Reasons): void {
    if (!reasons.isNew(error)) return;
    const advice = refused ?? connectionAdvice(error);
    const { log, edgeAddress: address } = this.#options;
    const fields = { error: describe(error), address, ...(advice && { advice }) };
    log.warn(fields, 'node // no certificate, will try again');
  }

  async #tell(listener: () => unknown): Promise<void> {
    try {
      await listener();
    } catch (error) {
      this.#options.log.warn({ error: describe(error) }, 'node // renewed, and not everywhere');
    }
  }

  async #call(renews: boolean): Promise<CertificateAnswer> {
    const { keys, edgeAddress, joinToken } = this.#options;
    const csr = await certificateRequest(keys.signing, keys.nodeId);
    const ca = this.#ca();
    const identity = renews ? { key: this.#key, cert: this.#kept?.certificate } : {};
    const dispatcher = new Agent({
      maxResponseSize: ANSWER_BYTES_MAX,
      connect: { minVersion: 'TLSv1.3', ...identity, ...(ca !== undefined && { ca }) },
    });
    const path = renews ? '/v1/node/certificate' : '/v1/enroll';
    const body = renews || joinToken === undefined ? { csr } : { csr, joinToken };
    try {
      const response = await request(`https://${edgeAddress}${path}`, {
        dispatcher,
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.any([this.#signal, AbortSignal.timeout(CALL_MS_MAX)]),
      });
      const answer: unknown = await response.body.json();
      if (response.statusCode === 200) return certificateAnswerSchema.parse(answer);
      throw refusal(path, response.statusCode, answer);
    } finally {
      await dispatcher.destroy();
    }
  }

  /** The CAs first: without a certificate it only enrols again. */
  async #keep({ certificate, ca }: CertificateAnswer): Promise<void> {
    const read = this.#read(certificate);
    if (!read) throw new Error('The edge answered with a certificate that is not for this node.');
    await replacePrivate(this.#path('ca.pem'), ca);
    await replacePrivate(this.#path('certificate.pem'), certificate);
    this.#networkCa = ca;
    this.#kept = read.found;
  }

  /** A certificate, if it is for this node and hasn't ended. */
  #read(certificate: string): { readonly found: Kept; readonly renewInMs: number } | undefined {
    const parsed = parse(certificate);
    if (!parsed || certifiedNodeId(parsed) !== this.#options.keys.nodeId) return undefined;
    const [beganAtMs, expiresAtMs, nowMs] = [
      Date.parse(parsed.validFrom),
      expiryMs(parsed),
      Date.now(),
    ];
    if (expiresAtMs <= nowMs) return undefined;
    const renewAtMs = expiresAtMs - (expiresAtMs - beganAtMs) / 3;
    return {
      found: { certificate, expiresAtMs },
      renewInMs: Math.max(0, renewAtMs - nowMs),
    };
  }

  #isValid(): boolean {
    return this.#kept !== undefined && this.#kept.expiresAtMs > Date.now();
  }

  /** What the network said, and what the operator named, which may be newer. */
  #ca(): string | undefined {
    const known = [this.#networkCa, this.#options.ca].filter((pem) => pem !== undefined);
    return known.length === 0 ? undefined : known.map((pem) => `${pem.trim()}\n`).join('');
  }

  #path(name: string): string {
    return join(this.#options.directory, name);
  }
}

function parse(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

/** Of what an edge says, its code alone counts: its texts may be anything. */
function refusal(path: string, status: number, answer: unknown): Error {
  const { error } = (answer ?? {}) as { error?: { code?: unknown } };
  const code = String(error?.code);
  return isErrorCode(code)
    ? new CodedError(code)
    : new Error(`${path} was answered with ${status}`);
}
