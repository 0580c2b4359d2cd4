import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { access, chmod, cp, readFile, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { processIdentity } from '../../workers/embedded/os-process.ts';
import { until } from '../support/until.ts';
import { Project, outcome, temporalScript, type Outcome } from './project.ts';

const ENTRIES = [
  'start',
  'check',
  'test',
  'test-deep',
  'bench',
  'bench-comparators',
  'sim-schedule',
  'sim-trust',
  'trial-liars',
  'ca',
  'attack',
];

describe('bootstrap: commands', () => {
  let project: Project;
  before(async () => {
    project = await Project.create();
  });
  after(() => project.remove());

  it('prints help at once, without installing anything', async () => {
    const { code, output } = await project.run(['bootstrap/start.mjs', '--help']);
    assert.equal(code, 0);
    assert.match(output, /--once.*--reset.*PLX_GATEWAY_PORT/s);
    await assert.rejects(access(project.path('.tools')));
  });

  it('refuses arguments that make no sense', async () => {
    for (const args of [['--onec'], ['extra'], ['--prompt'], ['--max-tokens', '0'], ['--once=1']]) {
      const { code, output } = await project.run(['bootstrap/start.mjs', ...args]);
      assert.equal(code, 2, output);
      assert.match(output, /See `npm start -- --help`/);
    }
    await assert.rejects(access(project.path('.tools')));
  });

  for (const entry of ENTRIES)
    it(`${entry}: says which Node is needed, on one that is too old`, async () => {
      const pretend =
        'data:text/javascript,Object.defineProperty(process,"versions",' +
        '{value:{...process.versions,node:"20.18.3"}})';
      const args = ['--import', pretend, `bootstrap/${entry}.mjs`];
      const { code, output } = await project.run(args);
      assert.equal(code, 1);
      assert.match(output, /^Node 20\.19 or newer is needed, but this is Node 20\.18\.3 \(/);
      assert.match(output, /Install a current LTS release/);
    });

  it('has entries that even Node 12 can parse', async () => {
    for (const name of [...ENTRIES, 'node-version']) {
      const text = await readFile(new URL(`../../bootstrap/${name}.mjs`, import.meta.url), 'utf8');
      const code = text.replaceAll(/\/\/.*$/gm, '');
      assert.doesNotMatch(code, /\?\.|\?\?|'node:|^\s*await |#\w|\d_\d/m, name);
    }
  });
});

describe('bootstrap: npm test', () => {
  let project: Project;
  const LINKED = { LINKED: 'mocha,tsx,.bin/mocha,.bin/tsx', PATH: '' };
  before(async () => {
    project = await Project.create();
    // The real selection, without the servers that the real tests share.
    const config = await readFile(new URL('../../.mocharc.json', import.meta.url), 'utf8');
    const withoutServers = { ...JSON.parse(config), require: undefined };
    await project.write('.mocharc.json', JSON.stringify(withoutServers));
    await project.write('mine/model.gguf', 'GGUF');
    await project.write('mine/temporal', temporalScript('1.9.1'));
    await project.write('mine/python', '#!/bin/sh\necho 3.11\n');
    for (const name of ['temporal', 'python']) await chmod(project.path('mine', name), 0o755);
    await project.write('nodes/python/requirements.txt', '');
  });
  after(() => project.remove());

  async function runTests(
    files: Readonly<Record<string, string>>,
    args: string[],
    entry: 'test' | 'test-deep' = 'test',
  ): Promise<Outcome> {
    await rm(project.path('test'), { recursive: true, force: true });
    const all = { ...files, 'sdk/requirements.txt': '' };
    for (const [name, text] of Object.entries(all)) await project.write(`test/${name}`, text);
    const node = process.execPath.slice(0, process.execPath.lastIndexOf('/'));
    return project.run([`bootstrap/${entry}.mjs`, ...args], {
      LINKED: LINKED.LINKED,
      PATH: `${project.programs}:${node}:/usr/bin:/bin`,
      MODEL_PATH: project.path('mine', 'model.gguf'),
      TEMPORAL_CLI_PATH: project.path('mine', 'temporal'),
      PLX_NODE_PYTHON: project.path('mine', 'python'),
      PLX_SDK_PYTHON: project.path('mine', 'python'),
    });
  }
  const lastLine = ({ output }: Outcome) => output.trimEnd().split('\n').at(-1);

  it('counts on its last line, and gives tests the tools', async () => {
    const mixed = `
      import assert from 'node:assert';
      it('passes', () => {
        assert.match(process.env.TEMPORAL_CLI_PATH, /mine.temporal$/);
        assert.match(process.env.PLX_NODE_PYTHON, /mine.python$/);
        assert.match(process.env.PLX_SDK_PYTHON, /mine.python$/);
      });
      it('fails', () => assert.equal(1, 2));
      it.skip('is skipped', () => undefined);`;
    const result = await runTests({ 'mixed.test.ts': mixed }, ['--grep', 's']);
    assert.equal(lastLine(result), '1 passed, 1 failed, 1 skipped');
    assert.notEqual(result.code, 0);
  });

  it('runs only the files that are named', async () => {
    const files = { 'a.test.ts': `it('a', () => undefined)`, 'b.test.ts': `it('b', () => {})` };
    const result = await runTests(files, ['test/b.test.ts']);
    assert.equal(lastLine(result), '1 passed, 0 failed, 0 skipped');
    assert.equal(result.code, 0, result.output);
  });

  it('leaves test/deep to npm run test:deep, which runs nothing else', async () => {
    const files = {
      'usual.test.ts': `it('a usual test', () => {})`,
      'deep/one.test.ts': `it('a deep test', () => {})`,
      'deep/below/two.test.ts': `it('a deeper test', () => {})`,
    };
    // The pattern fits all three, and spares `npm test` its checks.
    const usual = await runTests(files, ['--grep', 'a.* test']);
    assert.equal(lastLine(usual), '1 passed, 0 failed, 0 skipped', usual.output);
    assert.match(usual.output, /a usual test/);
    const deep = await runTests(files, [], 'test-deep');
    assert.equal(lastLine(deep), '2 passed, 0 failed, 0 skipped', deep.output);
    assert.doesNotMatch(deep.output, /a usual test/);
    const named = await runTests(files, ['test/deep/one.test.ts'], 'test-deep');
    assert.equal(lastLine(named), '1 passed, 0 failed, 0 skipped', named.output);
  });

  it('runs two halves side by side, each in a process of its own, and counts both', async () => {
    const told = `console.log('process', process.pid);`;
    const files = {
      'workflows/one.test.ts': `${told} it('one test', () => {})`,
      'protocol/two.test.ts': `${told} it('two test', () => { throw new Error('no') })`,
    };
    const result = await runTests(files, ['--grep', 'test']);
    assert.equal(lastLine(result), '1 passed, 1 failed, 0 skipped', result.output);
    assert.notEqual(result.code, 0);
    const pids = [...result.output.matchAll(/^process (\d+)$/gm)].map(([, pid]) => pid);
    assert.equal(new Set(pids).size, 2, result.output);
  });

  it('fails when no test ran, or a file cannot be loaded', async () => {
    const none = await runTests({ 'none.test.ts': `it('a', () => {})` }, ['--grep', 'nothing']);
    assert.equal(lastLine(none), '0 passed, 0 failed, 0 skipped');
    assert.notEqual(none.code, 0);
    const torn = await runTests({ 'torn.test.ts': 'it(' }, ['--grep', 'x']);
    assert.equal(lastLine(torn), '0 passed, 0 failed, 0 skipped');
    assert.notEqual(torn.code, 0);
  });
});

describe('bootstrap: npm start', () => {
  let project: Project;
  before(async () => {
    project = await Project.create();
    const followParent = new URL('../../workers/embedded/follow-parent.mjs', import.meta.url);
    await cp(fileURLToPath(followParent), project.path('workers/embedded/follow-parent.mjs'));
    await project.addCompiler();
    await project.write('mine/model.gguf', 'GGUF');
    await project.write(
      'workers/network.ts',
      `const signals: string[] = [];
       const mode: string | undefined = process.env['MODE'];
       process.on('SIGINT', () => {
         signals.push('SIGINT');
         if (mode === 'stops') setTimeout(() => end(), 200);
       });
       process.on('SIGTERM', () => (signals.push('SIGTERM'), end()));
       function end() { console.log('got', signals.join()); process.exit(7); }
       console.log('up', process.pid, process.argv.slice(2).join(' '), process.env['MODEL_PATH']);
       setInterval(() => undefined, 1_000);`,
    );
  });
  after(() => project.remove());

  const env = (mode: string) => ({
    LINKED: 'typescript',
    MODE: mode,
    MODEL_PATH: project.path('mine', 'model.gguf'),
    TEMPORAL_ADDRESS: '127.0.0.1:1',
  });

  /** Starts, and waits for the network to be up. */
  function start(mode: string) {
    return up(project.spawn(['bootstrap/start.mjs', '--once', '--prompt', 'a b'], env(mode)));
  }

  async function up(child: ChildProcess) {
    const ended = outcome(child);
    const pid = await new Promise<number>((resolve, reject) => {
      let text = '';
      child.stdout?.on('data', (data: Buffer) => {
        text += data.toString('utf8');
        const up = /^up (\d+) /m.exec(text);
        if (up) resolve(Number(up[1]));
      });
      void ended.then(({ output }) => reject(new Error(`ended early: ${output}`)));
    });
    return { child, ended, pid };
  }

  it('passes arguments, tools, one signal per keypress, and the exit code', async () => {
    const { child, ended } = await start('stops');
    child.kill('SIGINT');
    // npm passes on what the terminal already sent.
    await sleep(50);
    child.kill('SIGINT');
    const { code, output } = await ended;
    assert.match(output, /up \d+ --once --prompt a b .*model\.gguf/);
    assert.match(output, /got SIGINT\n/);
    assert.equal(code, 7);
  });

  it('kills a network that does not stop, at the second Ctrl-C', async () => {
    const { child, ended, pid } = await start('hangs');
    child.kill('SIGINT');
    await sleep(700);
    assert.notEqual(await processIdentity(pid), undefined);
    child.kill('SIGINT');
    assert.equal((await ended).code, 137);
  });

  for (const killed of ['npm', 'the shell between'])
    it(`stops the network when ${killed} is killed`, async () => {
      // npm starts a shell, which starts the bootstrap.
      const shell = `"${process.execPath}" bootstrap/start.mjs; true`;
      const npm = `const { spawn } = require('node:child_process');
        const { pid } = spawn('/bin/sh', ['-c', process.argv[1]], { stdio: 'inherit' });
        console.log('shell', pid);
        setInterval(() => undefined, 1_000);`;
      const child = spawn(process.execPath, ['-e', npm, shell], {
        cwd: project.root,
        env: project.env({ ...env('hangs'), npm_lifecycle_event: 'start' }),
      });
      let text = '';
      child.stdout.on('data', (data: Buffer) => (text += data.toString('utf8')));
      const { ended, pid } = await up(child);
      const shellPid = Number(/^shell (\d+)$/m.exec(text)?.[1]);
      process.kill(killed === 'npm' ? (child.pid ?? 0) : shellPid, 'SIGKILL');
      if (killed !== 'npm') await until(() => text.includes('got SIGTERM'), 'the network ends');
      child.kill('SIGKILL');
      assert.match((await ended).output, /got SIGTERM\n/);
      assert.equal(await processIdentity(pid), undefined);
    });

  it('stops the network when it is itself killed', async () => {
    const { child, ended, pid } = await start('hangs');
    child.kill('SIGKILL');
    assert.match((await ended).output, /got SIGTERM\n/);
    assert.equal(await processIdentity(pid), undefined);
  });
});
