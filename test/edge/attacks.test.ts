import assert from 'node:assert/strict';
import { ATTACKS } from '../../bench/attacks/all.ts';
import { isRepelled, outcomeOf, type Attack, type Told } from '../../bench/attacks/attack.ts';
import { isErrorCode } from '../../protocol/errors.ts';
import { NODE_REPORTED_CODES } from '../../protocol/execute.ts';
import {
  countedMore,
  SECRET,
  startAttackScene,
  type AttackScene,
} from '../support/attack-scene.ts';

/** What would give away how the network is built, or what is behind the edge. */
const INSIDE = new RegExp(
  [
    'node_modules',
    String.raw`\.ts:\d`,
    String.raw`\.js:\d`,
    String.raw`\bat \w+ \(`,
    'prisma',
    'postgres',
    'ECONN',
    String.raw`127\.0\.0\.1`,
    'grpc-js',
    'workflow execution',
    'workflow task',
    'namespace',
    'shard',
    'activity task',
  ].join('|'),
  'i',
);

/** All that attackers may do in seconds, against a real network beside an honest node. */
describe('edge: attacks', function () {
  this.timeout(120_000);
  let attacked: AttackScene;
  const heard: (readonly [Attack, Told])[] = [];
  before(async () => {
    attacked = await startAttackScene();
  });
  after(() => attacked.stop());

  async function repelled(attack: Attack): Promise<void> {
    const told = await attack.run(attacked.scene);
    assert.ok(told, 'it could not be tried');
    heard.push([attack, told]);
    const bytes = JSON.stringify(told.bytes.toString('latin1').slice(0, 500));
    assert.ok(isRepelled(attack, told), `it was told ${outcomeOf(told)} ${bytes}`);
  }

  for (const attack of ATTACKS.filter(({ isSlow }) => !isSlow))
    it(`${attack.group}: ${attack.name}`, async () => {
      const before = await attacked.refused();
      await repelled(attack);
      const told = heard.at(-1)?.[1] ?? assert.fail();
      const { code } = told;
      // Where the answer is a yes, there is nothing to count: that nothing came of it is below.
      if (attack.isUncounted || ['accepted', 'over'].includes(outcomeOf(told))) return;
      const isCounted = (more: ReadonlyMap<string, number>) =>
        code === null ? closedFor(attack, more) : (more.get(code) ?? 0) > 0;
      await countedMore(attacked, before, isCounted, 'it is counted');
    });

  it('the slow ones, all at once', async () => {
    const before = await attacked.refused();
    const slow = ATTACKS.filter(({ isSlow }) => isSlow);
    await Promise.all(slow.map(repelled));
    const isCounted = (more: ReadonlyMap<string, number>) => sum(more) >= slow.length;
    await countedMore(attacked, before, isCounted, 'they are counted');
  });

  it('logs each code that it counts', async () => {
    const logged = await attacked.logged();
    for (const [code] of await attacked.refused())
      assert.ok(logged.includes(`"code":"${code}"`), code);
  });

  it('tells attackers nothing of others, or of what is behind it', async () => {
    assert.ok(heard.length > 100, `only ${heard.length} attacks`);
    const own = [attacked.scene.stranger, attacked.scene.accomplice].map(({ keys }) => keys.nodeId);
    for (const [{ name }, { bytes }] of heard) {
      const text = bytes.toString('latin1');
      assert.ok(!text.includes(attacked.scene.victim), `${name}: the id of another node`);
      assert.ok(!text.includes(SECRET), `${name}: a payload`);
      assert.doesNotMatch(text, INSIDE, name);
      for (const [id] of text.matchAll(/(nd|req|canary)_[0-9a-f]{8,}/g))
        assert.ok(
          own.some((nodeId) => nodeId === id),
          `${name}: ${id}`,
        );
    }
  });

  it('believes no claim: what a stranger had is served by the honest node', async () => {
    const ids = await attacked.givenToStrangers();
    const { database } = attacked.network;
    const where = { unitId: { in: [...ids] } };
    const attempts = await database.dispatch.findMany({ where });
    const { victim, stranger } = attacked.scene;
    for (const id of ids) {
      const accepted = attempts.filter((each) => each.unitId === id && each.outcome === 'accepted');
      assert.deepEqual(
        accepted.map(({ nodeId }) => nodeId),
        [victim],
      );
    }
    const codes = attempts.flatMap(({ nodeId, outcome }) =>
      nodeId === stranger.keys.nodeId && outcome ? [outcome] : [],
    );
    assert.ok(codes.length > 5, codes.join());
    // By its own word, or by what Temporal and Validate saw: never by a code that it chose.
    const possible = [...NODE_REPORTED_CODES, 'execute.node_lost', 'node.deadline_exceeded'];
    for (const code of codes)
      assert.ok(possible.some((each) => each === code) || code.startsWith('poe.'), code);
    const lost = codes.filter((code) => code === 'execute.node_lost');
    assert.ok(lost.length < codes.length / 2, codes.join());
  });

  it('serves the honest node all the while', async () => {
    assert.equal(await attacked.ask(), 200);
  });

  it('has a stable code for all that it counts', async () => {
    for (const [code] of await attacked.refused()) assert.ok(isErrorCode(code), code);
  });
});

/** What a connection that was ended without a word is counted as. */
function closedFor({ group }: Attack, more: ReadonlyMap<string, number>): boolean {
  return group === 'certificates' ? (more.get('edge.unauthenticated') ?? 0) > 0 : sum(more) > 0;
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, count) => total + count, 0);
}
