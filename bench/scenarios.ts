import type { Cluster } from './cluster.ts';
import { INSTANT_MODEL } from './instant-backend.ts';
import { closedLoop, type LoadOptions, type LoadResult } from './load.ts';
import type { FloorKind } from './floor-workflows.ts';

/** What is compared, in this order. */
export const SCENARIOS = ['plain', 'rsa', 'full'] as const;
export type Scenario = (typeof SCENARIOS)[number];

/** For people. */
export const SCENARIO_TITLES: Readonly<Record<Scenario, string>> = {
  plain: 'one-activity workflow',
  rsa: 'the same with two RSA operations on the node: the fair floor',
  full: 'a request through gateway, coordinator and node',
};

/** Runs one scenario once. */
export function runScenario(
  cluster: Cluster,
  scenario: Scenario,
  load: LoadOptions,
): Promise<LoadResult> {
  return scenario === 'full' ? runFull(cluster, load) : runFloor(cluster, scenario, load);
}

/** The path of an app: HTTP to the gateway, a whole answer back, on an instant backend. */
function runFull({ gatewayUrl, apiKey }: Cluster, load: LoadOptions): Promise<LoadResult> {
  const request = {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: 'one two three four five six seven eight' }],
      max_tokens: 16,
    }),
  };
  return closedLoop(load, async () => {
    const response = await fetch(`${gatewayUrl}/v1/chat/completions`, request);
    const body = await response.text();
    if (!response.ok) throw new Error(`The gateway answered ${response.status}: ${body}`);
  });
}

/** The floor makes its load in its own process. */
async function runFloor(
  { floorUrl }: Cluster,
  kind: FloorKind,
  load: LoadOptions,
): Promise<LoadResult> {
  const response = await fetch(`${floorUrl}/load`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ kind, ...load }),
  });
  if (!response.ok) throw new Error(`The floor answered ${response.status}`);
  return (await response.json()) as LoadResult;
}
