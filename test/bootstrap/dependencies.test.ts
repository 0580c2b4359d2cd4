import assert from 'node:assert/strict';
import { access, readFile, readdir, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { processIdentity } from '../../workers/embedded/os-process.ts';
import { Project, outcome } from './project.ts';

describe('bootstrap: dependencies and database client', () => {
  let project: Project;
  beforeEach(async () => {
    project = await Project.create();
  });
  afterEach(() => project.remove());

  async function waitFor(path: string): Promise<void> {
    for (let attempt = 0; attempt < 200; attempt++) {
      const isThere = await access(project.path(path)).then(
        () => true,
        () => false,
      );
      if (isThere) return;
      await sleep(25);
    }
    throw new Error(`${path} did not appear`);
  }

  it('installs and generates once, then says and does nothing', async () => {
    const first = await project.ensure(false);
    assert.equal(first.code, 0, first.output);
    assert.match(first.output, /▸ Installing dependencies \(about 1 min\) …\n✓ Installing .* \d s/);
    const calls = await project.calls();
    assert.equal(calls.length, 3);
    assert.match(calls[0] ?? '', /^npm install --no-save .*--ignore-scripts/);
    assert.equal(calls[1], 'hydrate-symlinks');
    assert.equal(calls[2], `prisma generate ${process.execPath}`);
    const startedAt = Date.now();
    assert.equal((await project.ensure(false)).output, '{}\n');
    assert.ok(Date.now() - startedAt < 1_000);
    assert.equal((await project.calls()).length, 3);
  });

  it('installs again when the lock file changes, generates when the schema does', async () => {
    await project.ensure(false);
    await project.write('package-lock.json', '{"changed":true}');
    await project.ensure(false);
    assert.equal((await project.calls()).filter((call) => call.startsWith('npm')).length, 2);
    await project.write('prisma/schema.prisma', 'model B {}');
    await project.ensure(false);
    const calls = await project.calls();
    assert.equal(calls.filter((call) => call.startsWith('npm')).length, 2);
    assert.equal(calls.filter((call) => call.startsWith('prisma')).length, 2);
  });

  it("leaves a user's schema engine alone", async () => {
    await project.ensure(false, { PRISMA_SCHEMA_ENGINE_BINARY: '/opt/engine' });
    assert.equal((await project.calls()).at(-1), 'prisma generate /opt/engine');
  });

  it("shows npm's own words, and recovers at the next start", async () => {
    const { code, output } = await project.ensure(false, { FAKE_NPM: 'fails' });
    assert.equal(code, 1);
    assert.match(output, /✗ Installing dependencies/);
    assert.match(output, /could not be installed: .*\n.*ENOTFOUND\n.*registry is away\nCheck the/);
    assert.doesNotMatch(output, / at .*\.mjs/, 'no stack for what a person can mend');
    assert.equal((await project.ensure(false)).code, 0);
  });

  it('says what is missing: npm, or the schema', async () => {
    await rm(project.path('programs', 'npm'));
    assert.match((await project.ensure(false)).output, /npm was not found on PATH/);
    await project.writeProgram(
      'npm',
      await readFile(new URL('./fixtures/npm.mjs', import.meta.url), 'utf8'),
    );
    await rm(project.path('prisma'), { recursive: true });
    assert.match((await project.ensure(false)).output, /prisma\/schema\.prisma is missing/);
  });

  it('after kill -9: ends the npm left behind, removes its half work, installs anew', async () => {
    const killed = project.spawn(['ensure.mjs'], { FAKE_NPM: 'hangs' });
    await waitFor('npm.pid');
    killed.kill('SIGKILL');
    await outcome(killed);
    const npmPid = Number(await readFile(project.path('npm.pid'), 'utf8'));
    assert.notEqual(await processIdentity(npmPid), undefined);
    await project.write('node_modules/torn/package.json', '{}');
    const { code, output } = await project.ensure(false);
    assert.equal(code, 0, output);
    assert.equal(await processIdentity(npmPid), undefined);
    assert.equal((await readdir(project.path('node_modules'))).includes('torn'), false);
    assert.deepEqual(await readdir(project.path('.tools')), []);
  });

  it('lets three concurrent starts install once', async () => {
    const starts = [1, 2, 3].map(() => project.ensure(false, { FAKE_NPM: 'slow' }));
    const outcomes = await Promise.all(starts);
    assert.deepEqual(
      outcomes.map(({ code }) => code),
      [0, 0, 0],
    );
    assert.equal((await project.calls()).length, 3);
    const waiting = outcomes.filter(({ output }) => /Waiting for another start/.test(output));
    assert.equal(waiting.length, 2);
    assert.deepEqual(await readdir(project.path('.tools')), []);
  });
});
