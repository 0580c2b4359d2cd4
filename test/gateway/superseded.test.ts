import assert from 'node:assert/strict';
import { PIECES, ResumeScene, TEXT } from '../support/resume-scene.ts';

describe('gateway: superseded attempts', () => {
  let scene: ResumeScene;
  before(async function () {
    this.timeout(180_000);
    scene = await ResumeScene.start();
  });
  afterEach(() => scene.tidy());
  after(() => scene.network.stop());

  it('goes on silently behind an attempt that broke off, if the next begins alike', async () => {
    await scene.breaksOff(PIECES.slice(0, 3));
    await scene.add(PIECES, 20);
    const stream = scene.ask();
    const { chunks, text, isDone } = await stream.whole;
    assert.deepEqual([text, isDone], [TEXT, true]);
    assert.deepEqual([...new Set(chunks.flatMap(({ attempt }) => attempt ?? []))], [1, 2]);
    assert.equal(chunks.at(-1)?.parallelix?.attempts, 2);
    const id = await stream.id();
    const after = chunks[3]?.sequence_number ?? 0;
    // What was read of the second attempt can be gone on with, and the text as a whole.
    const rest = await scene.resume(id, { starting_after: after, attempt: 2 }).whole;
    assert.equal(rest.text, TEXT.slice(after));
    assert.equal((await scene.resume(id).whole).text, TEXT);
    assert.equal((await scene.resume(id, { starting_after: 0 }).whole).text, TEXT);
    // Whether the first one began alike nobody knows any more.
    for (const query of [{ starting_after: after }, { starting_after: after, attempt: 1 }]) {
      const refused = await scene.resume(id, query).whole;
      assert.deepEqual([refused.text, refused.error?.code], ['', 'gateway.stream_superseded']);
    }
  });

  it('ends in a typed error behind an attempt that was replaced by another text', async () => {
    await scene.breaksOff(['Kein ', 'schöner ']);
    await scene.add(PIECES, 20);
    const stream = scene.ask();
    const { text, error, isDone } = await stream.whole;
    assert.deepEqual(
      [text, error?.code, isDone],
      ['Kein schöner ', 'gateway.stream_superseded', false],
    );
    const id = await stream.id();
    const refused = await scene.resume(id, { starting_after: text.length, attempt: 1 }).whole;
    assert.deepEqual([refused.text, refused.error?.code], ['', 'gateway.stream_superseded']);
    assert.equal(
      (await scene.resume(id).whole).text,
      TEXT,
      'from its beginning it is the right one',
    );
  });
});
