import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { LedgerScene, type Operation } from '../support/ledger-scene.ts';

const LANES = 5;

const crash = fc.constantFrom(null, null, null, 'rolled back' as const);
const index = fc.nat(11);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('receive'), key: index, call: index, crash }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('settle'),
      request: index,
      state: fc.constantFrom('completed', 'cancelled', 'failed', 'invalidated'),
      tokens: fc.nat(200),
      crash,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('abandon'), request: index }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('refund') }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('deposit'), account: fc.nat(1), reference: fc.nat(2) }),
  },
) as fc.Arbitrary<Operation>;

describe('prisma: the ledger conserves', function () {
  this.timeout(120_000);
  let scene: LedgerScene;
  before(async () => {
    scene = await LedgerScene.start();
  });
  after(() => scene.stop());

  /** All at once, on so many lanes: the n-th lane does every n-th of them. */
  async function perform(operations: readonly Operation[]): Promise<void> {
    const lane = async (first: number) => {
      for (let at = first; at < operations.length; at += LANES) {
        const next = operations[at];
        if (next) await scene.perform(next);
      }
    };
    await Promise.all(Array.from({ length: LANES }, (_, first) => lane(first)));
  }

  const conserves = (numRuns: number, around: (work: Promise<void>) => Promise<void>) =>
    fc.assert(
      fc.asyncProperty(
        fc.array(operation, { minLength: 20, maxLength: 60 }),
        async (operations) => {
          await scene.begin();
          await around(perform(operations));
          await scene.check();
        },
      ),
      { numRuns, endOnFailure: true },
    );

  it('whatever is done at once, again, and rolled back in the middle', async () => {
    await conserves(12, (work) => work);
    const tally = await scene.tally();
    for (const state of ['completed', 'cancelled', 'failed', 'refunded'])
      assert.ok((tally[state] ?? 0) > 0, `none ${state}: ${JSON.stringify(tally)}`);
    await scene.endAll();
  });

  it('when connections are cut in the middle of it', async () => {
    await conserves(8, async (work) => {
      const over = new AbortController();
      const killing = scene.killWhile(over.signal);
      await work.finally(() => over.abort());
      await killing;
    });
    assert.ok(scene.killed > 10, `only ${scene.killed} were cut`);
    await scene.endAll();
    assert.equal(await scene.deadlocks(), 0);
  });
});
