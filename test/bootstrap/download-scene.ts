import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { create } from 'tar';
import { DownloadServer } from './download-server.ts';
import { Project, sha256, temporalScript, type Outcome } from './project.ts';

export const MODEL_NAME = 'SmolLM2-135M-Instruct.Q4_1.gguf';
export const MODEL = ['.tools', 'models', MODEL_NAME];
export const CLI = ['.tools', 'temporal', '1.9.1', 'temporal'];

/** A project without Python that pins what its server has. */
export class DownloadScene {
  readonly project: Project;
  readonly model = randomBytes(300_000);
  archive: Buffer = Buffer.alloc(0);
  server = new DownloadServer();

  constructor(project: Project) {
    this.project = project;
  }

  static async create(): Promise<DownloadScene> {
    const project = await Project.create();
    const scene = new DownloadScene(project);
    await project.ensure(false, { LINKED: 'tar' });
    await project.limit({ backoffSeconds: 0.01 });
    const program = `${temporalScript('1.9.1')}# ${randomBytes(50_000).toString('hex')}\n`;
    scene.archive = await scene.packed(program);
    await project.pinFile('temporal', sha256(program));
    await project.pinArchive(sha256(scene.archive));
    await project.pinFile('model', sha256(scene.model));
    return scene;
  }

  /** Nothing downloaded, generous limits, and a server without faults. */
  async begin(): Promise<void> {
    await rm(this.project.path('.tools'), { recursive: true, force: true });
    await rm(this.project.path('programs', 'python3'), { force: true });
    await this.project.limit({ answerSeconds: 30, stallSeconds: 30, indexSeconds: 30 });
    this.server = new DownloadServer();
    Object.assign(this.server, { model: this.model, archive: this.archive });
    await this.server.start();
  }

  /** A tar.gz as the releases have it: a licence beside the program. */
  async packed(program: string): Promise<Buffer> {
    const folder = await mkdtemp(join(this.project.root, 'release-'));
    const file = join(folder, 'a.tar.gz');
    await writeFile(join(folder, 'LICENSE'), 'MIT');
    await writeFile(join(folder, 'temporal'), program, { mode: 0o644 });
    await create({ gzip: true, cwd: folder, file }, ['LICENSE', 'temporal']);
    return readFile(file);
  }

  /** Only the model is missing. */
  get modelEnv(): Record<string, string> {
    return { ...this.server.env, TEMPORAL_ADDRESS: '127.0.0.1:1' };
  }

  fetchModel(env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
    return this.project.ensure(true, { ...this.modelEnv, ...env });
  }

  /** Only the Temporal CLI is missing. */
  async fetchTemporal(): Promise<Outcome> {
    await this.project.write('mine/model.gguf', 'GGUF');
    const model = { MODEL_PATH: this.project.path('mine', 'model.gguf') };
    return this.project.ensure(true, { ...this.server.env, ...model });
  }

  /** That the whole model is in place, and nothing else. */
  async assertModelIsThere(): Promise<void> {
    assert.deepEqual(await readFile(this.project.path(...MODEL)), this.model);
    assert.deepEqual(await readdir(this.project.path('.tools', 'models')), [
      MODEL_NAME,
      `${MODEL_NAME}.stamp.json`,
    ]);
  }
}

/** One scene for the tests of a `describe`, begun afresh for each. */
export function useDownloadScene(onMade: (scene: DownloadScene) => void): void {
  let scene: DownloadScene;
  before(async () => {
    scene = await DownloadScene.create();
    onMade(scene);
  });
  after(() => scene.project.remove());
  beforeEach(() => scene.begin());
  afterEach(() => scene.server.stop());
}
