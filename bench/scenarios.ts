import { DIRECT_MODEL_ID, type Cluster } from './cluster.ts';
import { INSTANT_MODEL } from './instant-backend.ts';
import { closedLoop, type LoadOptions, type LoadResult } from './load.ts';
import type { FloorKind } from './floor-workflows.ts';

/** What is compared, in this order. */
export const SCENARIOS = ['plain', 'rsa', 'direct', 'full'] as const;
export type Scenario = (typeof SCENARIOS)[number];

/** For people. */
export const SCENARIO_TITLES: Readonly<Record<Scenario, string>> = {
  plain: 'one-activity workflow',
  rsa: 'the same with two RSA operations on the node: the fair floor',
  direct: 'a request whose node reaches Temporal without the edge, as none may',
  full: 'a request through gateway, coordinator, edge and node',
};

const REQUEST = {
  model: INSTANT_MODEL.id,
  messages: [{ role: 'user', content: 'one two three four five six seven eight' }],
  max_tokens: 16,
} as const;

/** What a scenario measured; the floor says the length of its last history too. */
export type ScenarioResult = LoadResult & { readonly historyEvents?: number };

/** Runs one scenario once. */
export function runScenario(
  cluster: Cluster,
  scenario: Scenario,
  load: LoadOptions,
): Promise<ScenarioResult> {
  if (scenario === 'plain' || scenario === 'rsa') return runFloor(cluster, scenario, load);
  const model = scenario === 'direct' ? DIRECT_MODEL_ID : INSTANT_MODEL.id;
  return closedLoop(load, () => requestOnce(cluster, { model }));
}

/**
 * The path of an app: HTTP to the gateway, a whole answer back, on an instant backend.
 *
 * @param changed fields of the request's body.
 */
export async function requestOnce(
  { gatewayUrl, apiKey }: Cluster,
  changed: object = {},
): Promise<{ readonly requestId: string }> {
  const response = await fetch(`${gatewayUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ ...REQUEST, ...changed }),
  });
  const body = await response.text();
  if (!response.ok) throw new Error(`The gateway answered ${response.status}: ${body}`);
  return { requestId: response.headers.get('x-request-id') ?? '' };
}

/** The floor makes its load in its own process. */
async function runFloor(
  { floorUrl }: Cluster,
  kind: FloorKind,
  load: LoadOptions,
): Promise<ScenarioResult> {
  const response = await fetch(`${floorUrl}/load`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ kind, ...load }),
  });
  if (!response.ok) throw new Error(`The floor answered ${response.status}`);
  return (await response.json()) as ScenarioResult;
}
