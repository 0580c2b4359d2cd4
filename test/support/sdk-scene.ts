import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { INSTANT_MODEL } from '../../bench/instant-backend.ts';
import { apiKeyHash, apiKeyHint, drawApiKey } from '../../crypto/api-key.ts';
import { openAccount, storeKey } from '../../prisma/api-keys.ts';
import { inTransaction, type Database } from '../../prisma/client.ts';
import { SCOPES, type KeyLimits, type Scope } from '../../protocol/keys.ts';
import { startCoordination, type Coordination } from './coordination.ts';
import { startRealGateway, type RealGateway } from './real-gateway.ts';
import { scriptedBackend, type Generating } from './scripted-backend.ts';
import { ACCOUNT, API_KEY } from './seeded.ts';
import { startTestNode, type TestNode } from './test-node.ts';

/** What the network has to say of a request that an SDK made. */
export interface Look {
  /** Of that text, in order. */
  readonly generations: readonly Generating[];
  /** Slots that something runs on. */
  readonly busySlots: number;
  /** How often something was charged for the request. */
  readonly charges: number;
}

/** Keys by what is special about them. */
export type SceneKeys = Readonly<Record<'demo' | 'reader' | 'poor' | 'single' | 'paced', string>>;

const UNLIMITED: KeyLimits = {
  budgetWei: null,
  budgetPeriod: 'month',
  requestsPerMinute: null,
  tokensPerMinute: null,
  concurrency: null,
};
const KEYS_MAX = 100;
const PING_MS = 10;

/** A whole network for SDKs to call: two nodes with a scripted backend, keys of several kinds. */
export class SdkScene {
  readonly network: Coordination;
  readonly keys: SceneKeys;
  readonly model = INSTANT_MODEL.id;
  readonly #nodes: readonly TestNode[];
  readonly #generations: readonly Generating[];
  readonly #window: Server;
  readonly #pinging: RealGateway;

  private constructor(
    network: Coordination,
    keys: SceneKeys,
    nodes: readonly TestNode[],
    generations: readonly Generating[],
    pinging: RealGateway,
  ) {
    this.network = network;
    this.keys = keys;
    this.#nodes = nodes;
    this.#generations = generations;
    this.#pinging = pinging;
    this.#window = createServer((request, response) => {
      const { searchParams } = new URL(request.url ?? '/', 'http://window');
      const [text, id] = ['text', 'request'].map((name) => searchParams.get(name) ?? '');
      void this.look(text, id).then((look) => {
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify(look));
      });
    });
  }

  static async start(): Promise<SdkScene> {
    const network = await startCoordination();
    const { database } = network;
    const poor = 'acct_poor';
    await inTransaction(database, (transaction) => openAccount(transaction, poor));
    const keys = {
      demo: API_KEY,
      reader: await makeKey(database, ACCOUNT, ['read']),
      poor: await makeKey(database, poor, SCOPES),
      single: await makeKey(database, ACCOUNT, SCOPES, { concurrency: 1 }),
      paced: await makeKey(database, ACCOUNT, SCOPES, { requestsPerMinute: 2 }),
    };
    const generations: Generating[] = [];
    const nodes: TestNode[] = [];
    for (const name of ['one', 'two']) {
      const backend = scriptedBackend(generations);
      nodes.push(await startTestNode({ ...network, name, tier: 1, backend }));
    }
    const pinging = await startRealGateway(network, {}, { pingMs: PING_MS });
    const scene = new SdkScene(network, keys, nodes, generations, pinging);
    scene.#window.listen(0, '127.0.0.1');
    await once(scene.#window, 'listening');
    return scene;
  }

  /** As SDKs want it. */
  get baseUrl(): string {
    return `${this.network.gatewayUrl}/v1`;
  }

  /** Of a gateway that pings a hundred times a second. */
  get pingingUrl(): string {
    return `${this.#pinging.url}/v1`;
  }

  /** Where other processes look, by `?text=…&request=…`. */
  get windowUrl(): string {
    return `http://127.0.0.1:${(this.#window.address() as AddressInfo).port}/`;
  }

  /**
   * @param text of the last message; each test has its own.
   * @param requestId whose charges are counted.
   */
  async look(text = '', requestId = ''): Promise<Look> {
    const { database } = this.network;
    const [{ busySlots, charges } = { busySlots: 0, charges: 0 }] = await database.$queryRaw<
      { busySlots: number; charges: number }[]
    >`
      SELECT (SELECT count(*)::int FROM slot WHERE unit_id IS NOT NULL) AS "busySlots",
             (SELECT count(*)::int FROM ledger_transfer 
              WHERE purpose = 'capture' AND key LIKE ${`${requestId}:%`}) AS charges`;
    const generations = this.#generations.filter((each) => each.text === text);
    return { generations, busySlots, charges };
  }

  async stop(): Promise<void> {
    this.#window.close();
    await this.#pinging.stop();
    for (const node of this.#nodes) await node.stop();
    await this.network.stop();
  }
}

async function makeKey(
  database: Database,
  accountId: string,
  scopes: readonly Scope[],
  limits: Partial<KeyLimits> = {},
): Promise<string> {
  const key = drawApiKey();
  const stored = {
    accountId,
    keyHash: apiKeyHash(key),
    hint: apiKeyHint(key),
    name: 'test',
    scopes,
    expiresAt: null,
    limits: { ...UNLIMITED, ...limits },
  };
  await inTransaction(database, (transaction) => storeKey(transaction, stored, KEYS_MAX));
  return key;
}
