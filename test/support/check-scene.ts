import assert from 'node:assert/strict';
import { instantBackend, type InstantOptions } from '../../bench/instant-backend.ts';
import type { SamplingPolicy } from '../../protocol/sampling.ts';
import { startCoordination, type Coordination, type RequestView } from './coordination.ts';
import { startTestNode, type Behaviour, type TestNode, type TestNodeOptions } from './test-node.ts';

/** Every unit is checked. */
export const CHECKED: SamplingPolicy = {
  v: 1,
  ratesPpm: {},
  floorPpm: 1_000_000,
  probationUnits: 0,
};

export const ASKED = 'one two three';

/** Computes something else, and proves that it has. */
export const lies =
  (text = 'one two four', options: InstantOptions = {}): Behaviour =>
  (honest) =>
    honest({ backend: instantBackend({ ...options, answer: () => text.split(/(?<= )/) }) });

/** A request, and all that became of it. */
export interface Outcome {
  readonly httpStatus: number;
  readonly view: RequestView;
  /** Names of the nodes that had it, with what their attempts ended with. */
  readonly attempts: readonly (readonly [string, string | null])[];
  readonly outcome: string | null;
  /** Names of the nodes that voted, with their sides. */
  readonly votes: readonly (readonly [string, string])[];
  /** Flags, as names of nodes with codes. */
  readonly flags: readonly (readonly [string, string])[];
  readonly events: readonly string[];
}

export interface CheckScene {
  readonly network: Coordination;
  /** The first one that is added is the smallest, and so gets what comes. */
  add(name: string, options?: Partial<TestNodeOptions>): Promise<TestNode>;
  ask(body?: object): Promise<Outcome>;
  /** How many units the node of that name was given. */
  executed(name: string): number;
  /** Takes all nodes away. */
  clear(): Promise<void>;
  stop(): Promise<void>;
}

/** A network in which every unit is checked, for nodes of different wills. */
export async function startCheckScene(): Promise<CheckScene> {
  const network = await startCoordination(1, CHECKED);
  const { database, edge } = network;
  let nodes: TestNode[] = [];
  const names = new Map<string, string>();
  const nameOf = (nodeId: string | null) => names.get(nodeId ?? '') ?? '?';
  const clear = async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    nodes = [];
    await database.node.updateMany({ data: { status: 'removed' } });
  };
  return {
    network,
    async add(name, options = {}) {
      const node = await startTestNode({
        database,
        edge,
        name,
        tier: nodes.length + 1,
        backend: instantBackend(),
        ...options,
      });
      nodes.push(node);
      names.set(node.keys.nodeId, name);
      return node;
    },
    async ask(body = {}) {
      const message = { role: 'user', content: ASKED };
      const response = await network.chat({
        model: 'instant',
        messages: [message],
        max_tokens: 16,
        ...body,
      });
      const said = await response.text();
      assert.ok(response.headers.has('x-request-id'), said);
      const view = await network.ended(response.headers.get('x-request-id') ?? '');
      const where = { unitId: view.id };
      const [attempts, verification, votes, flags, events] = await Promise.all([
        database.dispatch.findMany({ where, orderBy: { dispatch: 'asc' } }),
        database.verification.findUnique({ where }),
        database.vote.findMany({ where, orderBy: { dispatch: 'asc' } }),
        database.nodeEvent.findMany({ where, orderBy: [{ dispatch: 'asc' }, { code: 'asc' }] }),
        database.failureEvent.findMany({ where, orderBy: { id: 'asc' } }),
      ]);
      return {
        httpStatus: response.status,
        view,
        outcome: verification?.outcome ?? null,
        attempts: attempts.map(({ nodeId, outcome }) => [nameOf(nodeId), outcome] as const),
        votes: votes.map(({ nodeId, side }) => [nameOf(nodeId), side] as const),
        flags: flags.map(({ nodeId, code }) => [nameOf(nodeId), code] as const),
        events: events.map(({ code }) => code),
      };
    },
    executed: (name) => {
      const node = nodes.find(({ keys }) => names.get(keys.nodeId) === name);
      return node?.executed() ?? 0;
    },
    clear,
    async stop() {
      await clear();
      await network.stop();
    },
  };
}
