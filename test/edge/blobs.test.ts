import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { directoryStore } from '../../edge/blob-store.ts';
import { sweepBlobs } from '../../edge/blobs.ts';
import { grantBlob, keptBytes } from '../../prisma/blobs.ts';
import { addPoolNode } from '../support/pool.ts';
import { startNodeApiScene, type ApiNode, type NodeApiScene } from '../support/node-api-scene.ts';

const KIB = 1_024;
const MAX = 256 * KIB;
const QUOTA = 600 * KIB;
const TOTAL = 800 * KIB;

describe('edge/blobs', () => {
  let scene: NodeApiScene;
  let node: ApiNode;
  let other: ApiNode;
  let lookUp: Promise<unknown> | undefined;
  before(async () => {
    scene = await startNodeApiScene({
      blobBytesMax: MAX,
      blobQuotaBytes: QUOTA,
      blobTotalBytes: TOTAL,
      isRemoved: async () => {
        await lookUp;
        return false;
      },
    });
    [node, other] = [await registered(), await registered()];
  });
  beforeEach(() => void (scene.edge.refusals.length = 0));
  afterEach(async () => {
    await scene.db.database.blobHolder.deleteMany();
    await sweep();
    assert.deepEqual(await files(), [], 'nothing is left');
  });
  after(() => scene.stop());

  async function registered(): Promise<ApiNode> {
    const added = await scene.node();
    await addPoolNode(scene.db.database, { id: added.keys.nodeId });
    return added;
  }
  const store = () => directoryStore(scene.edge.blobDirectory);
  const sweep = () => sweepBlobs({ database: scene.db.database, blobs: store() });
  const digestOf = (bytes: Uint8Array) =>
    `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const path = (digest: string) => `/v1/node/blobs/${digest}`;
  const put = (by: ApiNode, bytes: Uint8Array, digest = digestOf(bytes)) =>
    by.call('PUT', path(digest), { body: bytes });
  const get = (by: ApiNode, digest: string) => by.call('GET', path(digest));
  const grant = (to: ApiNode, digest: string, seconds: number) =>
    grantBlob(scene.db.database, digest, to.keys.nodeId, seconds);
  async function files(): Promise<string[]> {
    const found = await readdir(scene.edge.blobDirectory, { recursive: true, withFileTypes: true });
    return found.filter((entry) => entry.isFile()).map(({ name }) => name);
  }

  it('are kept by their digest, for whoever put them, and read whole', async () => {
    const bytes: Buffer = Buffer.from(randomBytes(60 * KIB).toString('hex'));
    const digest = digestOf(bytes);
    assert.equal((await put(node, bytes)).status, 204);
    assert.equal((await put(node, bytes)).status, 204, 'once more');
    const { status, text } = await get(node, digest);
    assert.equal(status, 200);
    assert.ok(bytes.equals(Buffer.from(text)));
    assert.deepEqual(await files(), [digest.slice('sha256:'.length)]);
  });

  it('are there for nobody else, unless granted and for so long', async () => {
    const bytes = randomBytes(KIB);
    const digest = digestOf(bytes);
    await put(node, bytes);
    const unknown = await get(other, `sha256:${'0'.repeat(64)}`);
    const foreign = await get(other, digest);
    assert.deepEqual([unknown.status, unknown.code], [404, 'blob.not_found']);
    assert.deepEqual(foreign, unknown, 'one that is there looks like one that is not');
    assert.equal(await grant(other, digest, 0.3), true);
    assert.equal((await get(other, digest)).status, 200);
    await new Promise((resolve) => setTimeout(resolve, 350));
    assert.deepEqual(await get(other, digest), unknown, 'the grant has ended');
    assert.equal((await get(node, digest)).status, 200);
    assert.equal(await grant(other, `sha256:${'0'.repeat(64)}`, 60), false);
    // A grant isn't shortened, and outlives what the node has of it itself.
    assert.ok((await grant(other, digest, 60)) && (await grant(other, digest, 1)));
    await scene.db.database.blobHolder.deleteMany({ where: { kind: 'put' } });
    await sweep();
    assert.equal((await get(other, digest)).status, 200);
    assert.equal((await get(node, digest)).status, 404);
    assert.equal(scene.refused('blob.not_found'), 4);
  });

  it('are refused, and not kept, when their bytes are others, too many, or cut off', async () => {
    const bytes = randomBytes(KIB);
    const wrong = await put(node, bytes, digestOf(randomBytes(8)));
    assert.deepEqual([wrong.status, wrong.code], [400, 'blob.digest_mismatch']);
    const large = await put(node, randomBytes(MAX + 1));
    assert.deepEqual([large.status, large.code], [413, 'blob.too_large']);
    const undeclared = randomBytes(MAX + 1);
    const socket = await scene.connect(node);
    socket.write(
      `PUT ${path(digestOf(undeclared))} HTTP/1.1\r\nhost: e\r\n` +
        `transfer-encoding: chunked\r\n\r\n${undeclared.length.toString(16)}\r\n`,
    );
    socket.write(undeclared);
    const answer = await new Promise((resolve) => socket.once('data', resolve));
    assert.match(String(answer), /^HTTP\/1\.1 413 /);
    socket.destroy();
    const cut = await scene.connect(node);
    cut.write(`PUT ${path(digestOf(bytes))} HTTP/1.1\r\nhost: e\r\ncontent-length: 99\r\n\r\nxxx`);
    cut.resume().end();
    await new Promise((resolve) => cut.once('close', resolve));
    for (const digest of ['sha256:../../etc/passwd', 'md5:00', `SHA256:${'0'.repeat(64)}`]) {
      const { status } = await get(node, encodeURIComponent(digest));
      assert.equal(status, 404, digest);
    }
    assert.deepEqual(await files(), []);
    assert.equal(await scene.db.database.blob.count(), 0);
  });

  it('count for a quota of each node that put them, also at the same time', async () => {
    const bytes = () => randomBytes(MAX - KIB);
    const first = bytes();
    const answers = await Promise.all(
      [first, bytes(), bytes(), bytes()].map((it) => put(node, it)),
    );
    const codes = answers.map(({ code, status }) => code ?? status);
    assert.deepEqual(codes.map(String).toSorted(), [
      '204',
      '204',
      'blob.quota_exceeded',
      'blob.quota_exceeded',
    ]);
    assert.equal((await files()).length, 2);
    assert.equal((await put(node, bytes())).code, 'blob.quota_exceeded');
    assert.equal((await put(other, first)).status, 204, 'another node has its own');
    const held = await scene.db.database.blobHolder.findMany({
      where: { nodeId: node.keys.nodeId },
    });
    await scene.db.database.blobHolder.updateMany({
      where: { nodeId: node.keys.nodeId },
      data: { expiresAt: new Date() },
    });
    // Which two of the four were kept is chance: what all have together is no matter here.
    await sweep();
    assert.equal((await put(node, bytes())).status, 204, 'what has ended counts no more');
    assert.equal(held.length, 2);
  });

  it('count for what all nodes have together, also at the same time', async () => {
    const third = await registered();
    const shared = randomBytes(MAX);
    for (const bytes of [shared, randomBytes(MAX)])
      assert.equal((await put(node, bytes)).status, 204);
    const answers = await Promise.all(
      [other, third].map((by) => put(by, randomBytes(MAX - 8 * KIB))),
    );
    const codes = answers.map(({ code, status }) => code ?? String(status));
    assert.deepEqual(codes.toSorted(), ['204', 'blob.quota_exceeded']);
    assert.equal((await put(third, randomBytes(MAX))).code, 'blob.quota_exceeded');
    assert.equal((await put(third, shared)).status, 204, 'what is there takes no more room');
  });

  it('are taken from nodes of the pool only', async () => {
    const [certified, removed] = [await scene.node(), await registered()];
    await scene.db.database.node.update({
      where: { id: removed.keys.nodeId },
      data: { status: 'removed' },
    });
    for (const by of [certified, removed]) {
      const { status, code } = await put(by, randomBytes(KIB));
      assert.deepEqual([status, code], [403, 'edge.forbidden']);
    }
    assert.equal(await scene.db.database.blob.count(), 0);
  });

  it('count for no less than a file takes, however small they are', async () => {
    const one = randomBytes(8);
    assert.equal((await put(node, one)).status, 204);
    const { nodeId } = node.keys;
    const keptElse = await keptBytes(scene.db.database, nodeId, `sha256:${'0'.repeat(64)}`);
    assert.equal(keptElse, 4 * KIB);
    assert.equal(await keptBytes(scene.db.database, nodeId, digestOf(one)), 0);
  });

  it('have room again after calls that were given up while they were let in', async () => {
    let found = (): void => {};
    lookUp = new Promise<void>((resolve) => (found = resolve));
    const sockets = await Promise.all(Array.from({ length: 4 }, () => scene.connect(node)));
    for (const socket of sockets)
      socket.write(`GET ${path(`sha256:${'0'.repeat(64)}`)} HTTP/1.1\r\nhost: e\r\n\r\n`);
    await sleep(200);
    for (const socket of sockets) socket.destroy();
    await sleep(200);
    found();
    lookUp = undefined;
    await sleep(100);
    assert.equal((await put(node, randomBytes(8))).status, 204);
  });

  it('are forgotten once nobody may read them, and what was never whole some day', async () => {
    const [kept, ended] = [randomBytes(KIB), randomBytes(KIB)];
    await put(node, kept);
    await put(node, ended);
    await scene.db.database.blobHolder.updateMany({
      where: { digest: digestOf(ended) },
      data: { expiresAt: new Date(0) },
    });
    const [old, young] = ['old', 'young'].map((name) =>
      join(scene.edge.blobDirectory, 'incoming', name),
    ) as [string, string];
    for (const file of [old, young]) await writeFile(file, 'half');
    await utimes(old, new Date(0), new Date(0));
    await sweep();
    const left = await files();
    assert.deepEqual(left.toSorted(), [digestOf(kept).slice('sha256:'.length), 'young'].toSorted());
    assert.equal((await get(node, digestOf(ended))).status, 404);
    await utimes(young, new Date(0), new Date(0));
  });

  it('are not there when their file is lost, and can be put again', async () => {
    const bytes = randomBytes(KIB);
    await put(node, bytes);
    await store().remove(digestOf(bytes));
    assert.equal((await get(node, digestOf(bytes))).code, 'blob.not_found');
    assert.equal((await put(node, bytes)).status, 204);
    assert.equal((await get(node, digestOf(bytes))).status, 200);
  });
});
