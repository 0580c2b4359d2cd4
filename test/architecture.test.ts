import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { STEPS } from '../protocol/lifecycle.ts';
import {
  FILE_LINES_MAX,
  LINE_COLUMNS_MAX,
  violations,
  type Table,
} from './support/architecture.ts';
import { readSources } from './support/source-files.ts';

/** The import directions of design §2. What isn't in a row is forbidden. */
const TABLE: Table = {
  protocol: {
    folders: [],
    packages: ['viem/utils', 'viem/siwe', 'canonicalize', 'zod', 'pixelmatch'],
    // Decisions on data: the same input gives the same answer, in a workflow's replay too.
    forbiddenMembers: ['Date.now', 'new Date()', 'Math.random', 'crypto.*'],
  },
  crypto: {
    folders: ['protocol'],
    packages: ['node:*', 'jose', 'node-forge', 'zod', 'viem/accounts'],
  },
  workflows: {
    folders: ['protocol'],
    typesOf: ['activities'],
    packages: ['@temporalio/workflow', '@temporalio/common'],
    // The clock is allowed: Temporal makes it deterministic. Its randomness follows from the run
    // id, which nodes might learn, so nothing may be drawn with it.
    forbiddenMembers: ['Math.random', 'crypto.*'],
  },
  activities: {
    folders: ['protocol', 'crypto', 'prisma'],
    packages: ['@temporalio/activity', 'node:*'],
    typesOfPackages: ['pino'],
  },
  intake: {
    folders: ['protocol', 'crypto', 'prisma', 'activities'],
    typesOf: ['workflows'],
    packages: ['@temporalio/client', '@temporalio/common', 'fastify', 'zod', 'pino', 'node:*'],
  },
  // Between strangers and Temporal: it decides who says what, and opens no payload.
  edge: {
    folders: ['protocol', 'crypto', 'prisma'],
    packages: [
      '@grpc/grpc-js',
      '@temporalio/proto',
      'fastify',
      'undici',
      'zod',
      'pino',
      'prom-client',
      'node:*',
    ],
  },
  gateway: {
    folders: ['protocol', 'crypto', 'prisma'],
    packages: ['fastify', '@fastify/*', 'zod', 'pino', 'prom-client', 'node:*'],
  },
  // What an operator has to audit.
  nodes: {
    folders: ['protocol', 'crypto'],
    packages: [
      '@temporalio/worker',
      '@temporalio/activity',
      'node-llama-cpp',
      'undici',
      'zod',
      'node:*',
    ],
  },
  prisma: { folders: [], typesOf: ['protocol'], packages: ['pg', '@prisma/*', 'node:*'] },
  // It talks to the gateway and to nothing else: no database, no Temporal, no key of a role. What
  // it recomputes for an audit is computed by the same code.
  cli: {
    folders: ['protocol', 'crypto', 'bootstrap'],
    packages: ['commander', 'viem/accounts', 'tsx/esm/api', 'node:*'],
  },
  workers: { folders: 'any but test', packages: 'any' },
  bench: { folders: 'any but test', packages: 'any' },
  // It runs before anything is installed, and loads its own commands once Node's version is known;
  // `tar` is loaded once it is installed.
  bootstrap: { folders: [], packages: ['tar', 'node:*'], computedImports: true },
  contracts: { folders: [], packages: [], mayBeAbsent: true },
  test: { folders: 'any', packages: 'any', computedImports: true },
};

const ROOT = join(import.meta.dirname, '..');
const FIXTURES = join(import.meta.dirname, 'fixtures', 'architecture');
const STEP_NAMES = STEPS.map(({ name }) => name);
const NOT_OURS: readonly string[] = [
  'node_modules',
  'prisma/generated',
  'coverage',
  'test/fixtures/architecture',
];

/** The rules for fixtures: small, but with each feature of the real table. */
const FIXTURE_TABLE: Table = {
  protocol: {
    folders: [],
    packages: ['zod'],
    forbiddenMembers: ['Date.now', 'new Date()', 'Math.random', 'crypto.*'],
  },
  workflows: {
    folders: ['protocol'],
    typesOf: ['activities'],
    packages: ['@temporalio/*'],
    typesOfPackages: ['pino'],
    forbiddenMembers: ['Math.random', 'crypto.*'],
  },
  activities: { folders: 'any but test', packages: 'any', mayBeAbsent: true },
  bootstrap: { folders: [], packages: ['node:*'], computedImports: true, mayBeAbsent: true },
  test: { folders: 'any', packages: 'any', mayBeAbsent: true },
};

/** What each tree of `fixtures/architecture/bad` breaks, and all that it breaks. */
const BAD: Record<string, readonly string[]> = {
  'bare-import': ['workflows/unit.ts:1: workflows must not import crypto'],
  barrel: ['protocol/index.ts: is a barrel; import from the file that defines the name'],
  'builtin-without-prefix': ['protocol/receive.ts:1: protocol must not import node:fs'],
  clock: [
    'protocol/receive.ts:1: protocol must not use Date.now',
    'protocol/receive.ts:2: protocol must not use new Date()',
  ],
  'computed-import': ['workflows/unit.ts:1: workflows must not import what only running it tells'],
  'crypto-global': [
    'workflows/unit.ts:1: workflows must not use crypto.randomUUID',
    'workflows/unit.ts:2: workflows must not use crypto.subtle',
  ],
  'dynamic-import': ['workflows/unit.ts:1: workflows must not import crypto'],
  'folder-without-files': ['workflows/: has a row in the table, but no file'],
  'folder-without-row': ['edge/server.ts: edge/ has no row in the table'],
  'inline-type-import': ['workflows/unit.ts:1: workflows may only `import type` from activities'],
  'line-too-long': ['protocol/receive.ts:2: has more than 100 columns'],
  'missing-step': ['protocol/receive.ts: is missing, and each step has one'],
  'multi-line-import': ['workflows/unit.ts:1: workflows must not import crypto'],
  'outside-the-project': ['protocol/receive.ts:1: protocol must not import ..'],
  package: ['workflows/unit.ts:1: workflows must not import zod'],
  'package-by-value': ['workflows/unit.ts:1: workflows may only `import type` from pino'],
  random: [
    'protocol/receive.ts:1: protocol must not use Math.random',
    'workflows/unit.ts:1: workflows must not use Math.random',
  ],
  're-export': [
    'workflows/unit.ts:1: workflows must not import crypto',
    'workflows/unit.ts:2: workflows must not import crypto',
  ],
  'static-import': ['workflows/unit.ts:1: workflows must not import crypto'],
  'test-import': ['activities/receive.ts:1: activities must not import test'],
  'too-many-lines': ['protocol/receive.ts: has 301 lines, more than 300'],
  'type-import': ['protocol/receive.ts:1: protocol must not import workflows'],
  'value-import-of-types': [
    'workflows/unit.ts:2: workflows may only `import type` from activities',
  ],
};

async function fixtureViolations(name: string): Promise<string[]> {
  const files = await readSources(join(FIXTURES, name), () => false);
  assert.notEqual(files.length, 0, `${name} has no files`);
  return violations(files, FIXTURE_TABLE, ['receive']);
}

describe('architecture', () => {
  it('holds in the whole source tree', async () => {
    const files = await readSources(
      ROOT,
      (path) => path.startsWith('.') || NOT_OURS.includes(path),
    );
    // Were the reader to find nothing, nothing would be wrong.
    const imports = files.flatMap((file) => file.imports);
    assert.ok(files.length > 100 && imports.length > 300, `${files.length}, ${imports.length}`);
    assert.deepEqual(violations(files, TABLE, STEP_NAMES), []);
    assert.deepEqual([FILE_LINES_MAX, LINE_COLUMNS_MAX], [300, 100]);
  });

  it('allows every form that the rules allow', async () => {
    assert.deepEqual(await fixtureViolations('good'), []);
  });

  it('has a tree for each case, and a case for each tree', () => {
    assert.deepEqual(readdirSync(join(FIXTURES, 'bad')).toSorted(), Object.keys(BAD).toSorted());
  });

  for (const [name, expected] of Object.entries(BAD))
    it(`catches: ${name.replaceAll('-', ' ')}`, async () => {
      assert.deepEqual(await fixtureViolations(`bad/${name}`), expected);
    });
});
