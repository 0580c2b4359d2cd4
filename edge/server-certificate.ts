import { generateKeyPair } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSecureContext } from 'node:tls';
import { promisify } from 'node:util';
import type { Logger } from 'pino';
import { z } from 'zod';
import { certificateRequest } from '../crypto/certificate-requests.ts';
import { exportPrivatePem } from '../crypto/private-pem.ts';
import { certificateAnswerSchema, renewAfterMs } from '../protocol/certificate-schema.ts';
import type { CoordinatorClient } from './coordinator-client.ts';
import { certificatesIn } from './identity.ts';
import type { TlsMaterial, TlsSource } from './listener.ts';

const RETRY_MS = 1_000;
const RETRY_MS_MAX = 30_000;
/** A CA that is added, or dropped, is known to each edge after that long. */
const CA_LOOK_MS = 30_000;
const generate = promisify(generateKeyPair);
const caSchema = z.object({ ca: z.string() });

export interface ServerCertificateOptions {
  readonly coordinator: Pick<CoordinatorClient, 'ask'>;
  /** DNS names and IP addresses by which nodes call it, at least one. */
  readonly names: readonly string[];
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** How often it looks for other CAs, in ms; 30,000 by default. */
  readonly caLookMs?: number;
  /** Gives up. */
  readonly signal?: AbortSignal;
}

export interface ServerCertificate extends TlsSource {
  stop(): void;
}

/**
 * An edge's certificate and the CAs of the network, from the coordinator: waited for at first,
 * renewed at two thirds of its life, and at once when the CAs are others. Its key is a new P-256
 * one each time, with which a signature costs a tenth of RSA-2048's; it never leaves this process.
 *
 * @throws the signal's reason.
 */
export async function serverCertificate(
  options: ServerCertificateOptions,
): Promise<ServerCertificate> {
  const { log, caLookMs = CA_LOOK_MS } = options;
  const stopped = new AbortController();
  const signal = options.signal
    ? AbortSignal.any([stopped.signal, options.signal])
    : stopped.signal;
  const listeners: (() => void)[] = [];
  let { material, renewAtMs } = await obtain(options, signal);

  async function renew(): Promise<void> {
    for (;;) {
      await sleep(Math.min(caLookMs, Math.max(0, renewAtMs - performance.now())), undefined, {
        signal,
        ref: false,
      });
      if (performance.now() < renewAtMs && !(await areOthers(options, material.ca))) continue;
      ({ material, renewAtMs } = await obtain(options, signal));
      log.info('edge // certificate renewed');
      for (const listener of listeners) listener();
    }
  }

  renew().catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
  return {
    current: () => material,
    onRenewed: (listener) => void listeners.push(listener),
    stop: () => stopped.abort(),
  };
}

/** Asks until it has one that can be used. */
async function obtain(
  { coordinator, names, log }: ServerCertificateOptions,
  signal: AbortSignal,
): Promise<{ readonly material: TlsMaterial; readonly renewAtMs: number }> {
  for (let retryMs = RETRY_MS, away = false; ; away = true) {
    try {
      const pair = await generate('ec', { namedCurve: 'P-256' });
      const csr = await certificateRequest(pair, 'edge');
      const answer = certificateAnswerSchema.parse(
        await coordinator.ask('/v1/edge/certificate', { csr, names }),
      );
      const { certificate: cert, ca } = answer;
      const material = { key: exportPrivatePem(pair.privateKey), cert, ca };
      assertUsable(material);
      const renewInMs = Math.max(RETRY_MS, renewAfterMs(answer));
      return { material, renewAtMs: performance.now() + renewInMs };
    } catch (error) {
      signal.throwIfAborted();
      if (!away) log.warn({ error: String(error) }, 'edge // no certificate, will try again');
      await sleep(retryMs, undefined, { signal }).catch(() => undefined);
      signal.throwIfAborted();
      retryMs = Math.min(2 * retryMs, RETRY_MS_MAX);
    }
  }
}

/** Before it is anyone's: no listener should meet what isn't PEM. @throws Error */
function assertUsable(material: TlsMaterial): void {
  if (certificatesIn(material.ca).length === 0) throw new Error('There is no CA in the answer.');
  createSecureContext({ ...material });
}

/** Whether the network trusts other CAs now; not while nobody says so. */
async function areOthers(
  { coordinator }: ServerCertificateOptions,
  known: string,
): Promise<boolean> {
  try {
    return caSchema.parse(await coordinator.ask('/v1/edge/ca')).ca !== known;
  } catch {
    return false;
  }
}
