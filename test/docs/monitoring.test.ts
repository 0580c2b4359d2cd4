import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { registerGauges } from '../../edge/metrics.ts';
import { countRefusals } from '../../edge/refusals.ts';
import { GatewayMetrics } from '../../gateway/metrics.ts';
import { openDatabase } from '../../prisma/client.ts';
import { CoordinatorMetrics } from '../../workers/coordinator-metrics.ts';
import { coordinatorEnv, edgeEnv, gatewayEnv } from '../../workers/config.ts';
import { NodeMetrics } from '../../workers/node-metrics.ts';

const ROOT = join(import.meta.dirname, '../..');
const read = (path: string) => readFile(join(ROOT, path), 'utf8');

/** Nothing listens there. */
const NO_DATABASE = 'postgresql://nobody@127.0.0.1:9/none';

/** Registries with all that the roles register. */
function registries(): readonly Registry[] {
  const relay = { framesRelayed: 0, keptBytes: 0 };
  const coordinator = new CoordinatorMetrics(relay as never, openDatabase(NO_DATABASE));
  const edge = new Registry();
  countRefusals({ warn: () => {} } as never, edge);
  const zero = () => 0;
  registerGauges(edge, {
    connections: zero,
    polls: zero,
    inFlight: zero,
    certificateExpiresSeconds: zero,
  });
  const node = new NodeMetrics();
  node.watch({
    attempts: { list: () => [] },
    backend: { slots: 1 },
    health: { isHealthy: () => true },
  });
  return [new GatewayMetrics().registry, coordinator.registry, edge, node.registry];
}

/** As docs/monitoring.md writes them: `name{label,…} type`. */
async function registered(): Promise<string[]> {
  const each = registries().map(async (registry) => {
    const metrics = registry.getMetricsAsArray() as unknown as {
      name: string;
      labelNames: string[];
    }[];
    const types = new Map(
      (await registry.getMetricsAsJSON()).map(({ name, type }) => [name, type]),
    );
    return metrics.map(({ name, labelNames }) => {
      const labels = labelNames.length > 0 ? `{${labelNames.join(',')}}` : '';
      return `${name}${labels} ${String(types.get(name))}`;
    });
  });
  return (await Promise.all(each)).flat();
}

describe('docs/monitoring.md', () => {
  let text: string;
  before(async () => {
    text = await read('docs/monitoring.md');
  });

  it('has the metrics of all roles, with their labels and types', async () => {
    const rows = [...text.matchAll(/^\| `(plx_[\w{},]+)` +\| (\w+) +\|/gm)];
    const documented = rows.map(([, metric, type]) => `${metric} ${type}`);
    assert.deepEqual(documented.toSorted(), (await registered()).toSorted());
  });

  it('names the variables that the roles read', () => {
    const schemas = { coordinatorEnv, gatewayEnv, edgeEnv };
    const names = Object.values(schemas).flatMap(({ shape }) => Object.keys(shape));
    const ports = names.filter((name) => name.endsWith('_METRICS_PORT'));
    assert.equal(ports.length, 3);
    for (const name of [...ports, 'PLX_NODE_METRICS_PORT']) assert.ok(text.includes(name), name);
  });

  it('says what each alert means and what to do; all ask for metrics that exist', async () => {
    const rules = await read('deploy/prometheus/alerts.yml');
    const alerts = [...rules.matchAll(/^ +- alert: (\w+)$/gm)].map(([, name]) => name);
    const rows = [...text.matchAll(/^\| `([A-Z]\w+)` +\| \S.* \| \S.*\|$/gm)];
    assert.ok(alerts.length >= 5);
    assert.deepEqual(
      rows.map(([, name]) => name),
      alerts,
    );
    const known = new Map((await registered()).map((line) => [/^\w+/.exec(line)?.[0], line]));
    for (const [, name = '', labels = ''] of rules.matchAll(/(plx_\w+)(?:\{(\w+)[=~])?/g)) {
      const line = known.get(name.replace(/_bucket$/, ''));
      assert.ok(line, name);
      assert.ok(labels === '' || new RegExp(`[{,]${labels}[,}]`).test(line), `${name} ${labels}`);
    }
  });
});
