import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { DownloadServer } from './download-server.ts';
import { Project } from './project.ts';

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
      /\nThe disk is full \(ENOSPC\): about 294 MB for the model are needed in .*models, where \d/,
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
