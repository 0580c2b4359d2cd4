import { createSecretKey, randomBytes, type KeyObject } from 'node:crypto';
import { request as httpsRequest } from 'node:https';
import { text } from 'node:stream/consumers';
import { connect, type TLSSocket } from 'node:tls';
import { Client, Connection } from '@temporalio/client';
import pino from 'pino';
import { CHAIN_ID } from '../../bench/signed-binding.ts';
import { generateNodeKeys, type NodeKeys } from '../../crypto/keys.ts';
import type { NodeApiDependencies } from '../../edge/node-api.ts';
import { Commands } from '../../intake/commands.ts';
import { Relay } from '../../intake/relay.ts';
import { createIntakeServer } from '../../intake/server.ts';
import type { TlsMaterial } from '../../nodes/channel.ts';
import { listenForOutcomes } from '../../prisma/outcomes.ts';
import { receiveKeys, requester, seedInstant } from './seeded.ts';
import { freePort, freshDatabase, testServers, type TestDatabase } from './servers.ts';
import { startSideChannel, type SideChannel } from './side-channel.ts';
import './quiet-temporal.ts';

const EDGE_TOKEN = 'edge-token-of-this-test';

/** What an edge answered. */
export interface ApiAnswer {
  readonly status: number;
  /** Of docs/errors.md. */
  readonly code: string | undefined;
  readonly body: Record<string, unknown>;
  readonly text: string;
}

export interface ApiCall {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** A node with its certificate, that may call anything. */
export interface ApiNode {
  readonly keys: NodeKeys;
  call(method: string, path: string, call?: ApiCall): Promise<ApiAnswer>;
}

/** An edge's HTTP side before a real coordinator, all in this process. */
export interface NodeApiScene {
  readonly db: TestDatabase;
  readonly edge: SideChannel;
  readonly relay: Relay;
  readonly commands: Commands;
  readonly channelSecret: KeyObject;
  readonly coordinatorUrl: string;
  node(): Promise<ApiNode>;
  /** Without a certificate. */
  readonly stranger: Pick<ApiNode, 'call'>;
  /** A connection on which anything may be sent. */
  connect(node?: ApiNode): Promise<TLSSocket>;
  /** How often it refused with that code. */
  refused(code: string): number;
  stopCoordinator(): Promise<void>;
  stop(): Promise<void>;
}

export async function startNodeApiScene(
  changed: Partial<NodeApiDependencies> = {},
): Promise<NodeApiScene> {
  const { temporalAddress } = await testServers();
  const connection = await Connection.connect({ address: temporalAddress });
  const db = await freshDatabase();
  const { database } = db;
  await seedInstant(database);
  const outcomes = await listenForOutcomes(db.url, () => {});
  const channelSecret = createSecretKey(randomBytes(32));
  const relay = new Relay(channelSecret, [requester]);
  const commands = new Commands(channelSecret);
  const coordinator = createIntakeServer({
    database,
    keys: receiveKeys,
    client: new Client({ connection }),
    outcomes,
    relay,
    log: pino({ level: 'silent' }),
    intakeToken: 'test-intake-token-0123456789',
    edgeToken: EDGE_TOKEN,
    channelSecret,
    intakeKey: requester.publicJwk,
    returnKey: requester.publicJwk,
    onNodeSeen: () => {},
    onAccepted: () => {},
    commands,
    join: 'token',
    chainId: CHAIN_ID,
  });
  const port = await freePort();
  await coordinator.listen({ host: '127.0.0.1', port });
  const coordinatorUrl = `http://127.0.0.1:${port}`;
  const edge = await startSideChannel({ coordinatorUrl, edgeToken: EDGE_TOKEN, database, changed });
  const tlsOf = new Map<NodeKeys, TlsMaterial>();
  return {
    db,
    edge,
    relay,
    commands,
    channelSecret,
    coordinatorUrl,
    async node() {
      const keys = await generateNodeKeys();
      const tls = await edge.tls(keys);
      tlsOf.set(keys, tls);
      return { keys, call: (...call) => callEdge(edge, tls, ...call) };
    },
    stranger: { call: (...call) => callEdge(edge, { ca: edge.ca }, ...call) },
    async connect(node) {
      const [host, at] = edge.address.split(':');
      const tls = (node && tlsOf.get(node.keys)) ?? { ca: edge.ca };
      const socket = connect({ host: host ?? '', port: Number(at), ...tls });
      socket.on('error', () => socket.destroy());
      await new Promise((resolve) => socket.once('secureConnect', resolve));
      return socket;
    },
    refused: (code) => edge.refusals.filter((refusal) => refusal.code === code).length,
    stopCoordinator: () => coordinator.close(),
    async stop() {
      await edge.close();
      await coordinator.close();
      await outcomes.close();
      await connection.close();
      await db.close();
    },
  };
}

async function callEdge(
  { address }: SideChannel,
  tls: Partial<TlsMaterial>,
  method: string,
  path: string,
  { headers = {}, body }: ApiCall = {},
): Promise<ApiAnswer> {
  const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      `https://${address}${path}`,
      { method, agent: false, ...tls, headers: { ...length, ...headers } },
      (response) => {
        text(response).then((answered) => {
          const parsed = parse(answered);
          const { error } = parsed as { error?: { code: string } };
          const status = response.statusCode ?? 0;
          resolve({ status, code: error?.code, body: parsed, text: answered });
        }, reject);
      },
    );
    // Once there is an answer, what happens to the rest of the request is of no interest.
    request.on('error', reject);
    request.end(body);
  });
}

function parse(answered: string): Record<string, unknown> {
  try {
    return JSON.parse(answered) as Record<string, unknown>;
  } catch {
    return {};
  }
}
