import assert from 'node:assert/strict';
import { instantBackend } from '../../bench/instant-backend.ts';
import { LIARS, replayer } from '../support/liars.ts';
import { ASKED, lies, startCheckScene, type CheckScene } from '../support/check-scene.ts';
import { until } from '../support/until.ts';

/** Each in a network where every unit is checked, and two honest operators are there. */
describe('workflows: liars', () => {
  let scene: CheckScene;
  before(async () => {
    scene = await startCheckScene();
  });
  afterEach(() => scene.clear());
  after(() => scene.stop());

  const text = ({ result }: { result: { choices: { message: { content: string } }[] } | null }) =>
    result?.choices[0]?.message.content;
  const nodeOf = (nodeId: string) =>
    scene.network.database.node.findUniqueOrThrow({ where: { id: nodeId } });
  const reviews = (nodeId: string) =>
    scene.network.database.nodeReview.findMany({ where: { nodeId } });

  for (const { name, code, behaviour } of LIARS)
    it(`one that ${name}: outvoted, what it delivered is free, and it is removed`, async () => {
      const liar = await scene.add('liar', { behaviour });
      await scene.add('second');
      await scene.add('third');
      const { nodeId } = liar.keys;
      for (let request = 1; (await nodeOf(nodeId)).status !== 'removed'; request++) {
        assert.ok(request <= 4, 'it is removed by then');
        const { view, votes, flags } = await scene.ask();
        assert.deepEqual([view.status, view.charged_wei], ['invalidated', '0']);
        assert.deepEqual(votes[0], ['liar', 'minority']);
        assert.deepEqual(flags, [['liar', 'validate.minority']]);
      }
      const [removal, ...more] = await reviews(nodeId);
      assert.deepEqual([removal?.decision, removal?.code, more], ['removed', code, []]);
      // It is gone: the next request is another one's from the start.
      const { view, attempts } = await scene.ask();
      assert.deepEqual([view.status, text(view)], ['completed', ASKED]);
      assert.ok(attempts.every(([who]) => who !== 'liar'));
      const { events } = await scene.network.database.nodeUptime
        .findMany({ where: { nodeId } })
        .then((windows) => ({ events: windows.map(({ endCode }) => endCode) }));
      assert.deepEqual(events, ['node.removed']);
    });

  it('three bad proofs remove a node at once, and their windows earn no uptime', async () => {
    const liar = await scene.add('liar', {
      behaviour: async (honest) => ({ ...(await honest()), poe: '0'.repeat(64) }),
    });
    await scene.add('second');
    await scene.add('third');
    for (let request = 1; request <= 3; request++) {
      const { view, attempts } = await scene.ask();
      assert.equal(view.status, 'completed');
      assert.deepEqual(attempts[0], ['liar', 'poe.hash_mismatch']);
    }
    const { nodeId } = liar.keys;
    assert.equal((await nodeOf(nodeId)).status, 'removed');
    assert.equal((await reviews(nodeId))[0]?.code, 'node.removed_bad_proofs');
    const forfeited = await scene.network.database.dispatch.findMany({ where: { nodeId } });
    assert.deepEqual(
      forfeited.map(({ forfeitsUptime }) => forfeitsUptime),
      [true, true, true],
    );
    const { attempts } = await scene.ask();
    assert.ok(attempts.every(([who]) => who !== 'liar'));
  });

  it('replays its own earlier PoE: poe.replayed, and another one is asked', async () => {
    await scene.add('replayer', { behaviour: replayer() });
    const other = await scene.add('other');
    await scene.add('third');
    const first = await scene.ask();
    assert.equal(first.view.status, 'completed');
    const second = await scene.ask();
    assert.deepEqual(second.attempts[0], ['replayer', 'poe.replayed']);
    assert.ok(other.executed() > 0);
  });

  it("a checker that returns the first node's PoE as its own is rejected", async () => {
    let seen = '';
    await scene.add('first', {
      behaviour: async (honest) => {
        const returned = await honest();
        seen = returned.poe;
        return returned;
      },
    });
    await scene.add('copier', {
      behaviour: async (honest) => ({ ...(await honest()), poe: seen }),
    });
    const { view, attempts, outcome } = await scene.ask();
    assert.deepEqual(attempts, [
      ['first', 'accepted'],
      ['copier', 'poe.foreign_node'],
    ]);
    assert.deepEqual([view.status, outcome], ['completed', 'hash_only']);
  });

  it('colluders of one operator never meet in a vote', async () => {
    const operatorId = 'colluders';
    await scene.add('first', { operatorId, behaviour: lies('the same lie') });
    const accomplice = await scene.add('accomplice', {
      operatorId,
      behaviour: lies('the same lie'),
    });
    await scene.add('honest');
    await scene.add('other');
    const { view, votes } = await scene.ask();
    assert.equal(view.status, 'invalidated');
    assert.deepEqual(votes.map(([who]) => who).toSorted(), ['first', 'honest', 'other']);
    assert.equal(accomplice.executed(), 0);
  });

  it('colluders of two operators win where nobody else is asked: q = 1 for m = N = 2', async () => {
    await scene.add('first', { behaviour: lies('the same lie') });
    await scene.add('accomplice', { behaviour: lies('the same lie') });
    const { view, outcome } = await scene.ask();
    assert.deepEqual([view.status, outcome, text(view)], ['completed', 'agreed', 'the same lie']);
  });

  it('flags nobody for an honest answer of another equivalence class', async () => {
    const backend = {
      ...instantBackend({ answer: () => ['honest', ' elsewhere'] }),
      engine: 'instant/2',
    };
    await scene.add('first');
    const different = await scene.add('different', { backend });
    const { view, outcome, flags } = await scene.ask();
    assert.deepEqual([view.status, outcome, flags], ['completed', 'hash_only', []]);
    assert.equal(different.executed(), 0);
  });

  it('refuses what a node returns that was removed meanwhile: another one is asked', async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    const liar = await scene.add('liar', {
      behaviour: async (honest) => {
        const returned = await honest();
        await held;
        return returned;
      },
    });
    const asked = scene.ask();
    await until(() => liar.executed() === 1, 'it has the unit');
    const { nodeId } = liar.keys;
    await scene.network.database.node.update({
      where: { id: nodeId },
      data: { status: 'removed' },
    });
    await scene.add('second');
    release();
    const { view, attempts } = await asked;
    assert.equal(view.status, 'completed');
    // By Validate, or by the edge, which looks at the pool every two seconds.
    const [first, ...others] = attempts;
    const refused = String(first?.[1]);
    assert.ok(['validate.node_removed', 'execute.node_lost'].includes(refused), refused);
    assert.deepEqual(others, [['second', 'accepted']]);
  });
});
