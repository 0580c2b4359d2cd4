import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { samplingPolicy } from '../../protocol/sampling.ts';
import {
  ConfigError,
  coordinatorEnv,
  gatewayEnv,
  nodeEnv,
  readConfig,
} from '../../workers/config.ts';

const coordinator = {
  DATABASE_URL: 'postgresql://plx@127.0.0.1:5432/plx',
  TEMPORAL_ADDRESS: '127.0.0.1:7233',
  PLX_INTAKE_TOKEN: 'sixteen-characters',
  PLX_COORDINATOR_KEYS: '.data/keys',
  PLX_EDGE_TOKEN: 'sixteen-characters',
};
const gateway = {
  DATABASE_URL: coordinator.DATABASE_URL,
  PLX_COORDINATOR_URL: 'http://127.0.0.1:8421/',
  PLX_INTAKE_TOKEN: coordinator.PLX_INTAKE_TOKEN,
  PLX_GATEWAY_KEYS: '.data/keys',
};
const node = {
  PLX_EDGE_ADDRESS: 'edge.example:8425',
  PLX_NODE_NAME: 'rack-1/node.2',
  PLX_OPERATOR_BINDING: 'binding.json',
  PLX_NODE_KEYS: '.data/keys',
  PLX_NODE_TIER: '3',
  MODEL_PATH: 'model.gguf',
  PLX_MODEL_ID: 'smollm2-135m-instruct',
};
const openaiNode = {
  ...node,
  MODEL_PATH: undefined,
  PLX_BACKEND: 'openai',
  PLX_OPENAI_URL: 'http://127.0.0.1:8000/v1/',
  PLX_MODEL_DIGEST: `sha256:${'0a'.repeat(32)}`,
};
const roles = [
  { role: 'coordinator', schema: coordinatorEnv, env: coordinator },
  { role: 'gateway', schema: gatewayEnv, env: gateway },
  { role: 'node', schema: nodeEnv, env: node },
] as const;

function complaint(role: (typeof roles)[number], changed: NodeJS.ProcessEnv): string {
  try {
    readConfig(role.role, role.schema, { ...role.env, ...changed });
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message;
  }
  return assert.fail(`the ${role.role} accepted ${JSON.stringify(changed)}`);
}

describe('workers/config readConfig', () => {
  it('takes shares of units to check, from the floor to all, and says what is wrong', () => {
    const rates = (PLX_SAMPLING_RATES: string) =>
      readConfig('coordinator', coordinatorEnv, { ...coordinator, PLX_SAMPLING_RATES })
        .PLX_SAMPLING_RATES;
    assert.deepEqual(rates(''), samplingPolicy());
    assert.deepEqual(rates('ai.inference=0.1'), samplingPolicy({ 'ai.inference': 0.1 }));
    for (const [wrong, reason] of [
      ['ai.inference', /must be like ai.inference=0.1/],
      ['ai.inference=0.1;', /must be like/],
      ['ai.inference=0.01', /from 0.02 to 1/],
      ['ai.inference=2', /from 0.02 to 1/],
      ['ai.training=0.1', /ai.training is no workload class/],
    ] as const)
      assert.throws(() => rates(wrong), reason, wrong);
  });

  it('fills in defaults', () => {
    const config = readConfig('coordinator', coordinatorEnv, coordinator);
    assert.deepEqual(config, {
      ...coordinator,
      TEMPORAL_NAMESPACE: 'default',
      PLX_COORDINATOR_HOST: '127.0.0.1',
      PLX_COORDINATOR_PORT: 8_421,
      PLX_SAMPLING_RATES: samplingPolicy(),
      PLX_SAMPLING_EPOCH_SECONDS: 600,
      PLX_JOIN: 'open',
      PLX_CHAIN_ID: 31_337,
      PLX_CERTIFICATE_SECONDS: 604_800,
      PLX_LOG_LEVEL: 'info',
    });
    assert.equal(readConfig('gateway', gatewayEnv, gateway).PLX_GATEWAY_PORT, 8_420);
    assert.equal(readConfig('node', nodeEnv, node).PLX_NODE_SLOTS, 1);
  });

  it('reads numbers, and URLs without their last slash', () => {
    const { PLX_COORDINATOR_URL: url, PLX_GATEWAY_PORT: port } = readConfig('gateway', gatewayEnv, {
      ...gateway,
      PLX_GATEWAY_PORT: '0',
    });
    assert.deepEqual([url, port], ['http://127.0.0.1:8421', 0]);
    const { PLX_NODE_TIER: tier } = readConfig('node', nodeEnv, node);
    assert.equal(tier, 3);
  });

  it('reads addresses and networks of proxies', () => {
    const read = (proxies: string) =>
      readConfig('gateway', gatewayEnv, { ...gateway, PLX_TRUSTED_PROXIES: proxies })
        .PLX_TRUSTED_PROXIES;
    assert.deepEqual(read(''), []);
    const some = ['10.0.0.0/8', '192.0.2.1', '2001:db8::/32', '::1'];
    assert.deepEqual(read(some.join()), some);
    for (const wrong of ['true', '10.0.0.0/33', '10.0.0.0/0', '10.0.0/8', '::1/129', '::1/', '*'])
      assert.throws(() => read(wrong), /PLX_TRUSTED_PROXIES: must be like/, wrong);
  });

  it('ignores variables that are not its own', () => {
    const config = readConfig('node', nodeEnv, { ...node, HOME: '/home', DATABASE_URL: 'x' });
    assert.ok(!('DATABASE_URL' in config) && !('HOME' in config));
  });

  for (const each of roles)
    it(`lists every variable that a ${each.role} misses`, () => {
      const unset = Object.fromEntries(Object.keys(each.env).map((name) => [name, undefined]));
      const lines = complaint(each, unset).split('\n');
      assert.equal(lines[0], `The ${each.role} can't start with this environment:`);
      const expected = Object.keys(each.env).map((name) => `  ${name}: is not set`);
      assert.deepEqual(lines.slice(1).toSorted(), expected.toSorted());
    });

  it('lists every wrong variable, with what it must be', () => {
    const message = complaint(roles[0], {
      DATABASE_URL: 'mysql://db',
      TEMPORAL_ADDRESS: 'temporal.example',
      PLX_INTAKE_TOKEN: 'short',
    });
    assert.deepEqual(message.split('\n').slice(1), [
      '  DATABASE_URL: must be a postgresql:// URL',
      '  TEMPORAL_ADDRESS: must be HOST:PORT',
      '  PLX_INTAKE_TOKEN: must have at least 16 characters',
    ]);
  });

  it('takes the embedded backend unless it is told otherwise', () => {
    const config = readConfig('node', nodeEnv, node);
    assert.equal(config.PLX_BACKEND, 'llama');
    assert.ok(config.PLX_BACKEND === 'llama' && config.MODEL_PATH === 'model.gguf');
    assert.deepEqual(readConfig('node', nodeEnv, { ...node, PLX_BACKEND: 'llama' }), config);
    assert.match(complaint(roles[2], { PLX_BACKEND: 'vllm' }), /: must be llama or openai$/);
  });

  it('reads what the openai backend needs', () => {
    const config = readConfig('node', nodeEnv, { ...openaiNode, PLX_CONTEXT_TOKENS: '4096' });
    assert.ok(config.PLX_BACKEND === 'openai');
    assert.deepEqual(
      [config.PLX_OPENAI_URL, config.PLX_MODEL_DIGEST, config.PLX_CONTEXT_TOKENS],
      ['http://127.0.0.1:8000/v1', openaiNode.PLX_MODEL_DIGEST, 4_096],
    );
    const digest = { MODEL_PATH: 'model.gguf', PLX_MODEL_DIGEST: undefined };
    readConfig('node', nodeEnv, { ...openaiNode, ...digest });
  });

  it('lists all that the openai backend misses', () => {
    const missing = { PLX_OPENAI_URL: undefined, PLX_MODEL_DIGEST: undefined };
    const env = { ...openaiNode, ...missing, PLX_NODE_NAME: undefined };
    const lines = complaint(roles[2], env).split('\n').slice(1);
    assert.deepEqual(lines.toSorted(), [
      '  PLX_MODEL_DIGEST: set it, or MODEL_PATH to the weights file that the server loaded',
      '  PLX_NODE_NAME: is not set',
      '  PLX_OPENAI_URL: is not set',
    ]);
  });

  const wrongServers: [string, string, RegExp][] = [
    ['PLX_OPENAI_URL', 'http://user:secret@127.0.0.1/v1', /no user, password/],
    ['PLX_OPENAI_URL', 'http://127.0.0.1/v1?key=secret', /no user, password, query/],
    ['PLX_OPENAI_URL', 'localhost:8000', /URL/],
    ['PLX_OPENAI_API_KEY', 'two secrets', /visible ASCII/],
    ['PLX_OPENAI_API_KEY', '', /visible ASCII/],
    ['PLX_OPENAI_MODEL', '', /visible ASCII/],
    ['PLX_MODEL_DIGEST', `sha256:${'0A'.repeat(32)}`, /sha256: and 64 lower-case/],
    ['PLX_MODEL_DIGEST', '0a'.repeat(32), /sha256: and 64 lower-case/],
    ['PLX_CONTEXT_TOKENS', '0', /whole number of tokens/],
    ['PLX_CONTEXT_TOKENS', '4k', /whole number of tokens/],
  ];
  for (const [name, value, rule] of wrongServers)
    it(`refuses ${JSON.stringify(value)} as ${name}`, () => {
      const [, line, ...others] = complaint(roles[2], { ...openaiNode, [name]: value }).split('\n');
      assert.match(line ?? '', new RegExp(`^  ${name}: .*${rule.source}`));
      assert.equal(others.length, 0);
      assert.ok(!line?.includes('secret'));
    });

  const wrongPorts = ['', ' ', '-1', '65536', '8.5', '0x50', '1e3', 'http'];
  for (const port of wrongPorts)
    it(`refuses ${JSON.stringify(port)} as a port`, () => {
      const message = complaint(roles[1], { PLX_GATEWAY_PORT: port });
      assert.match(message, /\n {2}PLX_GATEWAY_PORT: /);
    });

  const wrong: [number, string, string][] = [
    [0, 'PLX_LOG_LEVEL', 'loud'],
    [0, 'TEMPORAL_NAMESPACE', ''],
    [0, 'PLX_SAMPLING_RATES', 'often'],
    [0, 'PLX_SAMPLING_RATES', 'ai.inference=0.01'],
    [0, 'PLX_SAMPLING_RATES', 'ai.training=0.1'],
    [0, 'PLX_SAMPLING_RATES', 'ai.inference=0.1,ai.inference=0.2'],
    [0, 'PLX_SAMPLING_EPOCH_SECONDS', '9'],
    [0, 'PLX_CERTIFICATE_SECONDS', '29'],
    [0, 'PLX_CA', ''],
    [0, 'PLX_EDGE_TOKEN', 'short'],
    [1, 'PLX_COORDINATOR_URL', 'ftp://127.0.0.1'],
    [1, 'PLX_TEMPORAL_UI_URL', 'not a url'],
    [2, 'PLX_NODE_TIER', '6'],
    [2, 'PLX_NODE_TIER', ''],
    [2, 'PLX_NODE_SLOTS', '0'],
    [2, 'PLX_NODE_KEYS_PASSPHRASE', ''],
    [2, 'PLX_NODE_KEYS_PASSPHRASE', 'eleven char'],
    [2, 'PLX_NODE_KEYS_PASSPHRASE_BEFORE', 'short'],
    [2, 'PLX_NODE_NAME', 'a b'],
    [2, 'MODEL_PATH', ''],
  ];
  for (const [index, name, value] of wrong)
    it(`names ${name} when it is ${JSON.stringify(value)}`, () => {
      const each = roles[index];
      assert.ok(each);
      const lines = complaint(each, { [name]: value }).split('\n');
      assert.equal(lines.length, 2);
      assert.ok(lines[1]?.startsWith(`  ${name}: `), lines[1]);
    });

  it('never repeats a value, which may be a secret', () => {
    const value = fc.string({ minLength: 5, maxLength: 15, unit: fc.constantFrom('~', '%', '!') });
    fc.assert(
      fc.property(fc.constantFrom(...roles), value, (each, value) => {
        const all = Object.fromEntries(Object.keys(each.env).map((name) => [name, value]));
        // Paths are any text; what is left must be wrong, and named without its value.
        assert.ok(!complaint(each, all).includes(value));
      }),
      { numRuns: 50 },
    );
  });
});
