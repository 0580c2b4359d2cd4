import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, rm, stat, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { MODEL_NAME, useDownloadScene, type DownloadScene } from './download-scene.ts';
import { outcome, sha256, type Project } from './project.ts';

describe('bootstrap: a download', () => {
  let scene: DownloadScene;
  let project: Project;
  useDownloadScene((made) => {
    scene = made;
    project = made.project;
  });

  const otherModel = randomBytes(300_000);
  const partial = () => project.path('.tools', 'models', `${MODEL_NAME}.partial`);
  const partialHasBytes = async () => {
    while (((await stat(partial()).catch(() => undefined))?.size ?? 0) === 0) await sleep(10);
  };
  const resumedFrom = (range: string | undefined): number =>
    Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1]);
  /** A start that is killed while the model arrives. */
  async function killAStart(): Promise<void> {
    scene.server.faults.push({ kind: 'half' });
    const child = project.spawn(['ensure.mjs', 'tools'], scene.modelEnv);
    const ended = outcome(child);
    await Promise.race([partialHasBytes(), ended]);
    child.kill('SIGKILL');
    assert.equal((await ended).signal, 'SIGKILL');
  }

  it('goes on where a connection was cut, if the file is still the same', async () => {
    scene.server.faults.push({ kind: 'half', until: partialHasBytes });
    const { code, output } = await scene.fetchModel();
    assert.equal(code, 0, output);
    await scene.assertModelIsThere();
    const [first, second] = scene.server.fileRequests;
    assert.equal(first?.range, undefined);
    const from = resumedFrom(second?.range);
    assert.ok(from > 0 && from <= scene.model.length / 2, second?.range);
    assert.equal(second?.ifRange, '"first"');
  });

  it('goes on after a stall', async () => {
    await project.limit({ stallSeconds: 2 });
    scene.server.faults.push({ kind: 'half' });
    const { code, output } = await scene.fetchModel();
    assert.equal(code, 0, output);
    await scene.assertModelIsThere();
    assert.ok(resumedFrom(scene.server.fileRequests[1]?.range) > 0);
  });

  it('asks again after a 500, and not after a 404', async () => {
    scene.server.faults.push({ kind: 'status', status: 500 }, { kind: 'status', status: 503 });
    assert.equal((await scene.fetchModel()).code, 0);
    await scene.assertModelIsThere();
    assert.equal(scene.server.fileRequests.length, 3);
    await rm(project.path('.tools'), { recursive: true });
    scene.server.faults.push({ kind: 'status', status: 404 });
    const { code, output } = await scene.fetchModel();
    assert.equal(code, 1);
    assert.match(output, /4\. The hub http.*\/hub: http.*Q4_1\.gguf answered 404 Not Found\./);
    assert.equal(scene.server.fileRequests.length, 4);
  });

  it('gives up on a server that stays in trouble, and keeps what has arrived', async () => {
    scene.server.faults.push({ kind: 'half', until: partialHasBytes });
    for (let count = 0; count < 4; count++)
      scene.server.faults.push({ kind: 'status', status: 502 });
    const { code, output } = await scene.fetchModel();
    assert.equal(code, 1);
    assert.match(output, /answered 502 Bad Gateway; given up after 5 attempts\./);
    assert.ok((await stat(partial())).size > 0);
    assert.equal((await scene.fetchModel()).code, 0);
    assert.ok(resumedFrom(scene.server.fileRequests.at(-1)?.range) > 0);
    await scene.assertModelIsThere();
  });

  it('goes on at the next start after kill -9', async () => {
    await killAStart();
    const { code, output } = await scene.fetchModel();
    assert.equal(code, 0, output);
    await scene.assertModelIsThere();
    assert.ok(resumedFrom(scene.server.fileRequests[1]?.range) > 0);
    assert.equal(scene.server.fileRequests[1]?.ifRange, '"first"');
  });

  for (const kind of ['ignores range', 'ignores if-range'] as const)
    it(`starts again when the file has changed in between, on a server that ${kind}`, async () => {
      scene.server.model = otherModel;
      await killAStart();
      Object.assign(scene.server, { model: scene.model, etag: '"second"' });
      scene.server.faults.push({ kind });
      const { code, output } = await scene.fetchModel();
      assert.equal(code, 0, output);
      await scene.assertModelIsThere();
    });

  it('starts again when a file without ETag has changed in between', async () => {
    Object.assign(scene.server, { model: otherModel, etag: '' });
    await killAStart();
    scene.server.model = scene.model;
    const { code, output } = await scene.fetchModel();
    assert.equal(code, 0, output);
    await scene.assertModelIsThere();
    assert.ok(resumedFrom(scene.server.fileRequests[1]?.range) > 0);
    assert.equal(scene.server.fileRequests[2]?.range, undefined);
  });

  it('starts again when the server has no such range', async () => {
    await killAStart();
    await writeFile(partial(), randomBytes(scene.model.length + 5));
    assert.equal((await scene.fetchModel()).code, 0);
    await scene.assertModelIsThere();
    assert.equal(scene.server.fileRequests[1]?.range, `bytes=${scene.model.length + 5}-`);
  });

  it('keeps a whole file that was not renamed before a kill', async () => {
    await killAStart();
    await writeFile(partial(), scene.model);
    assert.equal((await scene.fetchModel()).code, 0);
    await scene.assertModelIsThere();
    assert.equal(scene.server.fileRequests.length, 1);
  });

  it('refuses and deletes a file with another digest', async () => {
    scene.server.model = otherModel;
    const { code, output } = await scene.fetchModel();
    assert.equal(code, 1);
    assert.ok(
      output.includes(`SHA-256 ${sha256(otherModel)} instead of the pinned ${sha256(scene.model)}`),
      output,
    );
    assert.deepEqual(await readdir(project.path('.tools', 'models')), []);
  });

  it('refuses a file that is far too large, before the disk is full of it', async () => {
    await project.pinModelMegabytes(0.1);
    const { code, output } = await scene.fetchModel();
    await project.pinModelMegabytes(98);
    assert.equal(code, 1);
    assert.match(output, /is more than twice as large as the pinned file/);
  });
});
