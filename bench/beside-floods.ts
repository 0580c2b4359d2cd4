import { caSource } from '../crypto/ca.ts';
import { fromOneAddress, handshakeFlood, pollFlood } from './attacks/floods.ts';
import { loopbackAddresses } from './attacks/network.ts';
import { Stranger } from './attacks/stranger.ts';
import type { Cluster } from './cluster.ts';
import { INSTANT_MODEL } from './instant-backend.ts';
import { closedLoop } from './load.ts';
import { requestOnce } from './scenarios.ts';
import { CHAIN_ID } from './signed-binding.ts';

const IN_FLIGHT = 16;
const HANDSHAKES_PER_SECOND = 500;
const POLLS_PER_SECOND = 1_000;
const OPERATOR_KEY = `0x${'51'.repeat(32)}` as const;

/** Honest requests a second by round, without a flood and beside one. */
export interface FloodCost {
  readonly quiet: readonly number[];
  readonly handshakes: readonly number[];
  readonly polls: readonly number[];
}

/**
 * Measures honest traffic beside floods of one stranger, in turns with quiet. The attacker's own
 * CPU time is in it: all share the cores.
 */
export async function measureBesideFloods(
  cluster: Cluster,
  rounds: number,
  seconds: number,
): Promise<FloodCost> {
  const [host = '', port = ''] = cluster.edgeAddress.split(':');
  const { trusted: ca } = await caSource({ directory: cluster.coordinatorKeys })();
  const edge = fromOneAddress({ host, port: Number(port), ca, from: loopbackAddresses() });
  const stranger = await Stranger.enrol(edge, {
    name: 'flood',
    operatorKey: OPERATOR_KEY,
    chainId: CHAIN_ID,
    model: INSTANT_MODEL,
  });
  const perSecond = async (beside: Promise<unknown>) => {
    const honest = closedLoop({ inFlight: IN_FLIGHT, seconds }, () => requestOnce(cluster));
    const [{ latenciesMs, elapsedSeconds }] = await Promise.all([honest, beside]);
    return latenciesMs.length / elapsedSeconds;
  };
  const cost = { quiet: [] as number[], handshakes: [] as number[], polls: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    cost.quiet.push(await perSecond(Promise.resolve()));
    cost.handshakes.push(await perSecond(handshakeFlood(edge, HANDSHAKES_PER_SECOND, seconds)));
    cost.polls.push(await perSecond(pollFlood(edge, stranger, POLLS_PER_SECOND * seconds)));
  }
  return cost;
}
