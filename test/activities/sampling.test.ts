import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Sampling } from '../../activities/sampling.ts';
import { generateWrapKey, type Ring, type WrapKey } from '../../crypto/keys.ts';
import { drawOf, policyHash, secretHash } from '../../crypto/sampling.ts';
import { formatRequestId } from '../../protocol/ids.ts';
import { samplingPolicy, type SamplingPolicy } from '../../protocol/sampling.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const EPOCH_SECONDS = 600;

describe('activities/sampling', () => {
  let db: TestDatabase;
  let ring: Ring<WrapKey>;
  let lost: number[];
  beforeEach(async () => {
    db = await freshDatabase();
    ring = [generateWrapKey()];
    lost = [];
  });
  afterEach(() => db.close());

  const sampling = (policy: SamplingPolicy = samplingPolicy(), keys = ring) =>
    new Sampling({
      database: db.database,
      ring: keys,
      policy,
      epochSeconds: EPOCH_SECONDS,
      onSecretLost: (epoch) => lost.push(epoch),
    });
  const rows = () => db.database.samplingEpoch.findMany({ orderBy: { epoch: 'asc' } });
  const unitId = formatRequestId(randomBytes(32));
  const poe = randomBytes(32).toString('hex');

  /** What was committed to can't be changed otherwise. */
  async function unguarded(change: () => Promise<unknown>): Promise<void> {
    await db.database.$executeRaw`ALTER TABLE sampling_epoch DISABLE TRIGGER USER`;
    await change();
    await db.database.$executeRaw`ALTER TABLE sampling_epoch ENABLE TRIGGER USER`;
  }

  /** As if so much time had passed. */
  function pass(seconds: number): Promise<void> {
    return unguarded(
      () => db.database.$executeRaw`
        UPDATE sampling_epoch SET begins_at = begins_at - make_interval(secs => ${seconds}::float8),
          published_at = published_at - make_interval(secs => ${seconds}::float8)`,
    );
  }

  it('publishes the present epoch and the next, by hashes, once for all coordinators', async () => {
    const coordinators = [sampling(), sampling(), sampling()];
    await Promise.all(coordinators.map((each) => each.refresh()));
    const [first, next, ...more] = await rows();
    assert.deepEqual([first?.epoch, next?.epoch, more.length], [1, 2, 0]);
    assert.ok(first && next);
    assert.equal(next.beginsAt.getTime() - first.beginsAt.getTime(), EPOCH_SECONDS * 1_000);
    for (const { secret, secretHash: hash, policy, policyHash: committed } of [first, next]) {
      assert.equal(secret, null);
      assert.match(hash, /^[0-9a-f]{64}$/);
      assert.equal(committed, policyHash(policy));
    }
    const draws = coordinators.map((each) => each.draws(unitId, poe, 'ai.inference'));
    assert.deepEqual(draws[1], draws[0]);
    assert.deepEqual(draws[2], draws[0]);
    assert.deepEqual(
      draws[0]?.map(({ epoch }) => epoch),
      [1, 2],
    );
  });

  it('publishes once, whichever of those that began at the same time comes first', async () => {
    // Each round is a race: many coordinators begin at once, and lock in any order.
    for (let round = 0; round < 20; round++) {
      await unguarded(() => db.database.$executeRaw`DELETE FROM sampling_epoch`);
      await Promise.all(Array.from({ length: 8 }, () => sampling().refresh()));
      assert.deepEqual(
        (await rows()).map(({ epoch }) => epoch),
        [1, 2],
      );
    }
  });

  it('reveals a secret when two other epochs have begun: that of the hash', async () => {
    const one = sampling();
    await one.refresh();
    const [draw] = one.draws(unitId, poe, 'ai.inference');
    for (const revealed of [[], [], [1], [1, 2]]) {
      assert.deepEqual(
        (await rows()).filter(({ secret }) => secret !== null).map(({ epoch }) => epoch),
        revealed,
      );
      await pass(EPOCH_SECONDS);
      await one.refresh();
    }
    const [first] = await rows();
    assert.equal(secretHash(first?.secret ?? ''), first?.secretHash);
    assert.equal(drawOf(first?.secret ?? '', unitId, poe), draw?.draw);
  });

  it('goes on by the last epoch after a pause: none begins that was not published', async () => {
    const one = sampling();
    await one.refresh();
    await pass(100 * EPOCH_SECONDS);
    await one.refresh();
    const known = await rows();
    assert.deepEqual(
      known.map(({ epoch }) => epoch),
      [1, 2, 3],
    );
    const third = known[2];
    assert.ok(third && third.beginsAt.getTime() - third.publishedAt.getTime() >= 599_000);
    assert.deepEqual(
      one.draws(unitId, poe, 'ai.inference').map(({ epoch }) => epoch),
      [2, 3],
    );
  });

  it('lets a new policy begin with an epoch that is not published yet', async () => {
    await sampling().refresh();
    const later = sampling(samplingPolicy({ 'ai.inference': 0.5 }));
    await later.refresh();
    const rates = () => later.draws(unitId, poe, 'ai.inference').map((each) => each.ratePpm);
    assert.deepEqual(rates(), [50_000, 50_000]);
    await pass(EPOCH_SECONDS);
    await later.refresh();
    assert.deepEqual(rates(), [50_000, 500_000]);
  });

  it('keeps to a rotated key, and takes the new one for new epochs', async () => {
    await sampling().refresh();
    const rotated: Ring<WrapKey> = [generateWrapKey(), ...ring];
    const one = sampling(samplingPolicy(), rotated);
    await one.refresh();
    await pass(EPOCH_SECONDS);
    await one.refresh();
    assert.equal((await rows()).length, 3);
    assert.deepEqual(lost, []);
  });

  it('says so when the secrets are lost, and begins a new epoch at once', async () => {
    await sampling().refresh();
    const one = sampling(samplingPolicy(), [generateWrapKey()]);
    await one.refresh();
    assert.deepEqual(lost, [1, 2]);
    assert.deepEqual(
      one.draws(unitId, poe, 'ai.inference').map(({ epoch }) => epoch),
      [3, 4],
    );
    await pass(3 * EPOCH_SECONDS);
    await one.refresh();
    const revealed = (await rows()).filter(({ secret }) => secret !== null);
    assert.deepEqual(
      revealed.map(({ epoch }) => epoch),
      [],
    );
  });

  it('can not be changed, in the database either', async () => {
    await sampling().refresh();
    const { database } = db;
    const changed = () =>
      database.samplingEpoch.update({ where: { epoch: 1 }, data: { secretHash: 'x' } });
    await assert.rejects(changed, /committed to/);
    await assert.rejects(() => database.samplingEpoch.delete({ where: { epoch: 1 } }));
    const reveal = (secret: string) =>
      database.samplingEpoch.update({
        where: { epoch: 1 },
        data: { secret, revealedAt: new Date() },
      });
    await reveal('one');
    await assert.rejects(() => reveal('another'), /committed to/);
  });
});
