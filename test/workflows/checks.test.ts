import assert from 'node:assert/strict';
import { instantBackend } from '../../bench/instant-backend.ts';
import { ContextExceededError } from '../../nodes/backends/backend.ts';
import { historyOf, record } from '../support/history.ts';
import { ASKED, lies, startCheckScene, type CheckScene } from '../support/check-scene.ts';
import { tampered } from '../support/faults.ts';
import { balances } from '../support/seeded.ts';

const WRONG_HASH = tampered(async (honest) => ({ ...honest, poe: '0'.repeat(64) }));

describe('workflows: sampled checks', () => {
  let scene: CheckScene;
  before(async () => {
    scene = await startCheckScene();
  });
  afterEach(() => scene.clear());
  after(() => scene.stop());

  const recorded = async (id: string, name: string) =>
    record(await historyOf(scene.network.client, id), name);
  const text = ({ result }: { result: { choices: { message: { content: string } }[] } | null }) =>
    result?.choices[0]?.message.content;

  it('agrees: a second operator has the same result, and the request completes', async () => {
    await scene.add('first');
    await scene.add('same-operator', { operatorId: 'operator-first' });
    await scene.add('second');
    const { view, outcome, votes, attempts, flags, events } = await scene.ask();
    assert.deepEqual([view.status, outcome], ['completed', 'agreed']);
    assert.notEqual(view.charged_wei, '0');
    assert.deepEqual(votes, [
      ['first', 'majority'],
      ['second', 'majority'],
    ]);
    assert.deepEqual(attempts, [
      ['first', 'accepted'],
      ['second', 'accepted'],
    ]);
    assert.deepEqual([flags, events], [[], []]);
    const history = await scene.network.client.workflow.getHandle(view.id).describe();
    assert.deepEqual(history.searchAttributes['plxSampled'], [true]);
    await recorded(view.id, 'check-agreed');
  });

  it('overrules what was delivered: invalidated, free, and the liar is flagged', async () => {
    const before = await balances(scene.network.database);
    await scene.add('liar', { behaviour: lies() });
    await scene.add('second');
    await scene.add('third');
    const { httpStatus, view, outcome, votes, flags, events } = await scene.ask();
    assert.equal(httpStatus, 200);
    assert.deepEqual([view.status, outcome], ['invalidated', 'overruled']);
    assert.equal(view.error?.code, 'validate.overruled');
    assert.equal(view.charged_wei, '0');
    assert.deepEqual(await balances(scene.network.database), before);
    assert.deepEqual(votes[0], ['liar', 'minority']);
    assert.deepEqual(flags, [['liar', 'validate.minority']]);
    assert.deepEqual(events.toSorted(), ['validate.disagreement', 'validate.overruled']);
    await recorded(view.id, 'check-overruled');
  });

  it('strict: delivers the majority result instead, and charges that', async () => {
    await scene.add('liar', { behaviour: lies('one') });
    await scene.add('second');
    await scene.add('third');
    const { view, outcome, votes } = await scene.ask({ delivery: 'strict' });
    assert.deepEqual([view.status, outcome], ['completed', 'overruled']);
    assert.equal(text(view), ASKED);
    assert.notEqual(view.proof_of_execution?.node, undefined);
    assert.deepEqual(votes[0], ['liar', 'minority']);
    await recorded(view.id, 'check-strict-overruled');
  });

  it('strict: what agrees is delivered once it was checked', async () => {
    await scene.add('first');
    await scene.add('second');
    const { view, outcome } = await scene.ask({ delivery: 'strict' });
    assert.deepEqual([view.status, outcome, text(view)], ['completed', 'agreed', ASKED]);
    await recorded(view.id, 'check-strict-agreed');
  });

  it('has no majority: fails, free, and all are flagged for review', async () => {
    const nodes = [];
    for (const name of ['one', 'two', 'three'])
      nodes.push(await scene.add(name, { behaviour: lies(name) }));
    for (const delivery of ['validated', 'strict']) {
      const { view, outcome, votes, flags } = await scene.ask({ delivery });
      assert.deepEqual([view.status, outcome], ['failed', 'no_majority']);
      assert.equal(view.error?.code, 'validate.no_majority');
      assert.equal(view.charged_wei, '0');
      assert.deepEqual(new Set(votes.map(([, side]) => side)), new Set(['undecided']));
      assert.equal(votes.length, 3);
      assert.deepEqual(
        flags.map(([, code]) => code),
        Array(3).fill('validate.no_majority'),
      );
      await recorded(view.id, `check-no-majority-${delivery}`);
    }
    // Each of them may be the liar: all that they do is checked, as of new nodes.
    const { nodeTrust } = scene.network.database;
    await nodeTrust.updateMany({ data: { checked: 50 } });
    await nodeTrust.createMany({
      data: nodes.map(({ keys: { nodeId } }) => ({
        nodeId,
        workloadClass: 'ai.inference',
        checked: 50,
        logRatio: 1,
      })),
    });
    await scene.ask();
    for (const { keys } of nodes) {
      const [trust] = await nodeTrust.findMany({ where: { nodeId: keys.nodeId } });
      assert.deepEqual([trust?.checked, trust?.logRatio], [0, 1]);
    }
  });

  it('hash_only: nobody of another operator, or of the same class, could be asked', async () => {
    await scene.add('first');
    await scene.add('same-operator', { operatorId: 'operator-first' });
    await scene.add('other-class', { backend: { ...instantBackend(), engine: 'instant/2' } });
    const { view, outcome, votes, flags, events } = await scene.ask();
    assert.deepEqual([view.status, outcome], ['completed', 'hash_only']);
    assert.deepEqual(votes, [['first', 'undecided']]);
    assert.deepEqual([flags, events], [[], ['validate.hash_only']]);
    await recorded(view.id, 'check-hash-only');
  });

  it("a checker's own bad PoE is rejected and is no disagreement: another one votes", async () => {
    await scene.add('first');
    const bad = await scene.add('bad-proof', { behaviour: WRONG_HASH });
    // Only the one is asked first that is there.
    const asked = scene.ask();
    const { view, outcome, votes, flags, events } = await asked;
    assert.deepEqual([view.status, outcome], ['completed', 'hash_only']);
    assert.deepEqual(flags, [['bad-proof', 'poe.hash_mismatch']]);
    assert.deepEqual(events, ['poe.hash_mismatch', 'validate.hash_only']);
    assert.deepEqual([votes.length, bad.executed()], [1, 1]);
    await recorded(view.id, 'check-faulty-checker');
  });

  it('has no majority where two operators refuse what the first one answered', async () => {
    const refusing = instantBackend({
      answer: () => {
        throw new ContextExceededError({ promptTokens: 9, maxTokens: 16, contextTokens: 10 });
      },
    });
    await scene.add('liar');
    for (const name of ['second', 'third']) await scene.add(name, { backend: refusing });
    const { view, outcome, flags } = await scene.ask();
    assert.deepEqual([view.status, view.charged_wei, outcome], ['failed', '0', 'no_majority']);
    assert.deepEqual(flags, [['liar', 'validate.no_majority']]);
    await recorded(view.id, 'check-refused');
  });

  it('two against one, beside a rejected checker: the majority of accepted votes', async () => {
    await scene.add('first');
    await scene.add('bad-proof', { behaviour: WRONG_HASH });
    await scene.add('liar', { behaviour: lies() });
    await scene.add('fourth');
    // Whoever is asked first: the outcome is the same.
    for (let round = 0; round < 4; round++) {
      const { view, outcome } = await scene.ask();
      assert.deepEqual([view.status, outcome], ['completed', 'agreed']);
    }
  });
});
