import assert from 'node:assert/strict';
import { instantBackend } from '../../bench/instant-backend.ts';
import { ASKED, lies, startCheckScene, type CheckScene } from '../support/check-scene.ts';
import { historyOf, record } from '../support/history.ts';
import { API_KEY, balances } from '../support/seeded.ts';
import type { Behaviour, TestNode } from '../support/test-node.ts';
import { until } from '../support/until.ts';

/** What may happen while a check is under way. */
describe('workflows: faults during checks', () => {
  let scene: CheckScene;
  let letGo: () => void;
  let holds: Behaviour;
  before(async () => {
    scene = await startCheckScene();
  });
  beforeEach(() => {
    const held = new Promise<void>((resolve) => (letGo = resolve));
    holds = async (honest) => {
      await held;
      return honest();
    };
  });
  afterEach(async () => {
    letGo();
    await scene.clear();
  });
  after(() => scene.stop());

  const cancel = (id: string) =>
    fetch(`${scene.network.gatewayUrl}/v1/requests/${id}/cancel`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}` },
    });
  const asking = (body: object = {}) => {
    const asked = scene.ask(body);
    // Only its end is looked at; a failure before that is told then.
    asked.catch(() => {});
    return asked;
  };
  const isChecking = (checker: TestNode) =>
    until(() => checker.executed() === 1, 'the check is under way');
  const newest = () =>
    scene.network.database.request.findFirstOrThrow({ orderBy: { acceptedAt: 'desc' } });

  it('a coordinator that is killed in the middle goes on, and counts each vote once', async () => {
    await scene.add('first', { behaviour: lies() });
    const checker = await scene.add('second', { behaviour: holds });
    await scene.add('third', { behaviour: holds });
    const asked = asking();
    await until(() => checker.executed() > 0 || scene.executed('third') > 0, 'a check runs');
    await scene.network.killCoordinator();
    letGo();
    await scene.network.startCoordinator();
    const { view, votes, flags } = await asked;
    assert.equal(view.status, 'invalidated');
    assert.deepEqual(votes[0], ['first', 'minority']);
    assert.equal(votes.length, 3);
    assert.deepEqual(flags, [['first', 'validate.minority']]);
    const trust = await scene.network.database.nodeTrust.findMany();
    assert.deepEqual(
      trust.map(({ checked }) => checked),
      [1, 1, 1],
    );
    await record(await historyOf(scene.network.client, view.id), 'check-coordinator-killed');
  });

  it('strict: cancelled in the middle of its check it is cancelled, and free', async () => {
    const initial = await balances(scene.network.database);
    await scene.add('first');
    const checker = await scene.add('second', { behaviour: holds });
    const asked = asking({ delivery: 'strict' });
    await isChecking(checker);
    assert.equal((await cancel((await newest()).id)).status, 200);
    const { view, outcome } = await asked;
    assert.deepEqual([view.status, view.charged_wei, outcome], ['cancelled', '0', null]);
    const validate = view.steps?.find(({ step }) => step === 'validate');
    assert.deepEqual([validate?.state, validate?.note], ['failed', 'execute.cancelled']);
    assert.equal(view.result, null);
    assert.deepEqual(await balances(scene.network.database), initial);
    await record(await historyOf(scene.network.client, view.id), 'check-strict-cancelled');
  });

  it('what was delivered can not be cancelled, and its check goes on', async () => {
    await scene.add('first', { behaviour: lies() });
    const checker = await scene.add('second', { behaviour: holds });
    const asked = asking();
    await isChecking(checker);
    assert.equal((await cancel((await newest()).id)).status, 409);
    letGo();
    const { view, outcome } = await asked;
    assert.deepEqual([view.status, outcome], ['failed', 'no_majority']);
  });

  it('a run that is cancelled in Temporal UI after delivery ends by its check', async () => {
    await scene.add('first');
    const checker = await scene.add('second', { behaviour: holds });
    const asked = asking();
    await isChecking(checker);
    await scene.network.client.workflow.getHandle((await newest()).id).cancel();
    letGo();
    const { view, outcome } = await asked;
    assert.deepEqual([view.status, outcome], ['completed', 'agreed']);
  });

  it('a run that is terminated after delivery is paid for: hash_only', async () => {
    await scene.add('first');
    const checker = await scene.add('second', { behaviour: holds });
    const asked = asking();
    await isChecking(checker);
    await scene.network.client.workflow.getHandle((await newest()).id).terminate();
    const { view, outcome } = await asked;
    assert.deepEqual([view.status, outcome], ['completed', 'hash_only']);
    assert.notEqual(view.charged_wei, '0');
  });

  it('a checker that is lost gives no vote, and another one is asked', async () => {
    await scene.add('first');
    const lost = await scene.add('second');
    await lost.stopPolling();
    const { view, outcome, attempts } = await scene.ask();
    assert.deepEqual([view.status, outcome], ['completed', 'hash_only']);
    assert.deepEqual(attempts, [
      ['first', 'accepted'],
      ['second', 'dispatch.node_unreachable'],
    ]);
    await record(await historyOf(scene.network.client, view.id), 'check-lost-checker');
  });

  it('a check waits for a node that is busy, and hash_only once its deadline is over', async () => {
    await scene.add('first');
    const backend = instantBackend({ slots: 1 });
    const busy = await scene.add('busy', { behaviour: holds, backend });
    const first = asking();
    await isChecking(busy);
    const { outcome, view } = await scene.ask({ deadline_seconds: 2 });
    assert.deepEqual([outcome, view.status], ['hash_only', 'completed']);
    const third = asking();
    await until(async () => (await scene.network.database.waiting.count()) === 1, 'it waits');
    letGo();
    assert.deepEqual([(await first).outcome, (await third).outcome], ['agreed', 'agreed']);
    assert.equal((await third).view.result?.choices[0]?.message.content, ASKED);
    await record(await historyOf(scene.network.client, (await third).view.id), 'check-waited');
  });
});
