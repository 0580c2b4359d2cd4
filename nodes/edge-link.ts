import { setTimeout as sleep } from 'node:timers/promises';
import { NativeConnection, type Worker } from '@temporalio/worker';
import type { NodeKeys } from '../crypto/keys.ts';
import { Channel, type TlsMaterial } from './channel.ts';
import { nodeIdentity } from './identity.ts';
import type { Log } from './membership.ts';

const RETRY_MS = 1_000;

export interface EdgeLinkOptions {
  /** HOST:PORT of the edge: the only address of the network that a node knows. */
  readonly address: string;
  /** Certificates that the edge's own is checked by, in PEM; those of the system by default. */
  readonly ca?: string;
  readonly joinToken?: string;
  readonly keys: NodeKeys;
  /** Where the node's certificate is kept, beside its keys. */
  readonly directory: string;
  readonly log: Log;
}

/** A node's way into the network: one address, one certificate, two kinds of connections. */
export interface EdgeLink {
  readonly channel: Channel;
  /** The current one, for the node's Temporal workers, which have to be given to `serve`. */
  connection(): NativeConnection;
  /** Gives a worker each new connection, as certificates are renewed, until it is let go of. */
  serve(worker: Worker): void;
  letGo(worker: Worker): void;
  /** Once nothing uses it any more. */
  close(): Promise<void>;
}

/**
 * Gets a certificate, or takes the one that is kept, and connects. An edge that is away is waited
 * for, for ever, since an operator's machine must come back by itself.
 *
 * @throws CodedError if the network refuses the node for good.
 */
export async function openEdgeLink(options: EdgeLinkOptions): Promise<EdgeLink> {
  const { address, keys, log } = options;
  const { directory, ca, joinToken } = options;
  const identity = await nodeIdentity({
    keys,
    directory,
    edgeAddress: address,
    log,
    ...(ca === undefined ? {} : { ca }),
    ...(joinToken === undefined ? {} : { joinToken }),
  });
  const channel = new Channel({ address, tls: () => identity.tls() }, keys);
  const closed = new AbortController();
  let current = await connect(options, () => identity.tls(), closed.signal);
  const workers = new Set<Worker>();
  const reconnect = async () => {
    const earlier = current;
    current = await connect(options, () => identity.tls(), closed.signal);
    for (const worker of workers) worker.connection = current;
    await earlier.close();
  };
  // One after the other, should an edge be away for as long as a certificate lasts.
  let reconnecting: Promise<void> = Promise.resolve();
  identity.onRenewed(() => {
    reconnecting = reconnecting.then(reconnect).catch((error: unknown) => {
      if (!closed.signal.aborted) log.warn({ error: String(error) }, 'node // did not reconnect');
    });
  });
  return {
    channel,
    connection: () => current,
    serve(worker) {
      if (worker.connection !== current) worker.connection = current;
      workers.add(worker);
    },
    letGo: (worker) => void workers.delete(worker),
    async close() {
      closed.abort();
      await identity.stop();
      await reconnecting;
      await channel.close();
      await current.close();
    },
  };
}

async function connect(
  { address, log }: EdgeLinkOptions,
  tls: () => TlsMaterial,
  signal: AbortSignal,
): Promise<NativeConnection> {
  for (let away = false; ; away = true) {
    const { key, cert, ca } = tls();
    try {
      return await NativeConnection.connect({
        address,
        tls: {
          clientCertPair: { key: Buffer.from(key), crt: Buffer.from(cert) },
          ...(ca === undefined ? {} : { serverRootCACertificate: Buffer.from(ca) }),
        },
      });
    } catch (error) {
      if (!away) log.warn({ error: String(error) }, 'node // the edge is away, will try again');
      await sleep(RETRY_MS, undefined, { signal });
    }
  }
}
