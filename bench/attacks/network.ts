import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { isNodeId, type NodeId } from '../../protocol/ids.ts';
import type { EdgeAddress, Scene, Work } from './attack.ts';
import { Stranger, type StrangerOptions } from './stranger.ts';

/** What a stranger may know of a network: its edge, and what its API tells any account. */
export interface KnownNetwork {
  readonly edge: EdgeAddress;
  readonly model: { readonly id: string; readonly digest: string };
  /** A node of somebody else. */
  readonly victim: NodeId;
}

const clientFile = z.object({
  gatewayUrl: z.url(),
  apiKey: z.string(),
  edgeAddress: z.string().regex(/^.+:\d+$/),
  edgeCa: z.string(),
});
const models = z.object({ data: z.array(z.object({ id: z.string(), digest: z.string() })).min(1) });
const nodes = z.object({
  data: z.array(z.object({ id: z.custom<NodeId>(isNodeId), model: z.string() })).min(1),
});

/** How long the network's first measurement of a newcomer is waited for. */
const WORK_MS_MAX = 10_000;

/**
 * The network that runs on a data directory.
 *
 * @returns undefined when none does.
 * @throws Error when it has no node to attack.
 */
export async function runningNetwork(dataDir: string): Promise<KnownNetwork | undefined> {
  const text = await readFile(join(dataDir, 'client.json'), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const { gatewayUrl, apiKey, edgeAddress, edgeCa } = clientFile.parse(JSON.parse(text));
  const get = async (path: string) => {
    const headers = { authorization: `Bearer ${apiKey}` };
    return (await fetch(`${gatewayUrl}${path}`, { headers })).json();
  };
  const [victim] = nodes.parse(await get('/v1/nodes')).data;
  const served = models.parse(await get('/v1/models')).data;
  const model = served.find(({ id }) => id === victim?.model);
  if (!victim || !model) throw new Error('The network has no node to attack.');
  const colon = edgeAddress.lastIndexOf(':');
  const edge = {
    host: edgeAddress.slice(0, colon),
    port: Number(edgeAddress.slice(colon + 1)),
    ca: await readFile(edgeCa, 'utf8'),
    from: loopbackAddresses(),
  };
  return { edge, model, victim: victim.id };
}

/**
 * Addresses of this machine alone, one after the other, so that the edge's limits by address keep
 * neither the attacks from being tried nor the machine's own nodes from their work. Only Linux has
 * more than one.
 */
export function* loopbackAddresses(): Generator<string, undefined> {
  if (process.platform !== 'linux') return;
  for (let last = 10; ; last = last === 250 ? 10 : last + 1) yield `127.0.0.${last}`;
}

/** Attackers in a network that they know no more of than anybody. Close it afterwards. */
export interface StrangersScene extends Scene {
  leave(): Promise<void>;
}

/** Joins with two nodes of one operator; others come when a task is to be spent. */
export async function joinAsStrangers(
  { edge, model, victim }: KnownNetwork,
  options: Pick<StrangerOptions, 'operatorKey' | 'chainId'>,
): Promise<StrangersScene> {
  const all: Stranger[] = [];
  const newcomer = async () => {
    const name = `stranger-${all.length + 1}`;
    const stranger = await Stranger.enrol(edge, { ...options, model, name });
    all.push(stranger);
    await stranger.register();
    await stranger.heartbeat();
    return stranger;
  };
  const measured = async (node: Stranger) => {
    const work = await node.poll(WORK_MS_MAX);
    node.beat();
    return work;
  };
  const stranger = await newcomer();
  const accomplice = await newcomer();
  let given: Promise<Work | null> = measured(stranger);
  return {
    edge,
    stranger,
    accomplice,
    victim,
    lapsed: {},
    work: () => given,
    async spend() {
      const spent = await given;
      given = newcomer().then(measured);
      // Whoever asks for it hears of it.
      given.catch(() => undefined);
      return spent;
    },
    async leave() {
      await given.catch(() => undefined);
      await Promise.all(all.map((each) => each.leave()));
    },
  };
}
