import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { ERRORS } from '../../protocol/errors.ts';
import { BAD_PROOFS_DAYS, BAD_PROOFS_MAX, removalReason } from '../../protocol/removal.ts';
import type { SprtVerdict } from '../../protocol/sprt.ts';

const verdict = fc.constantFrom<SprtVerdict>('continue', 'clear', 'remove');

describe('protocol/removal', () => {
  it('allows two bad proofs in a week, and not a third', () => {
    assert.deepEqual([BAD_PROOFS_MAX, BAD_PROOFS_DAYS], [3, 7]);
    const reasons = [0, 1, 2, 3, 4].map((badProofs) =>
      removalReason({ verdict: 'continue', badProofs }),
    );
    const bad = 'node.removed_bad_proofs';
    assert.deepEqual(reasons, [null, null, null, bad, bad]);
  });

  it('follows the sequential test whatever the proofs are like, and is not bought off', () => {
    fc.assert(
      fc.property(verdict, fc.nat({ max: 10 }), (verdict, badProofs) => {
        const reason = removalReason({ verdict, badProofs });
        assert.equal(reason === 'node.removed_wrong_results', verdict === 'remove');
        assert.equal(reason === null, verdict !== 'remove' && badProofs < BAD_PROOFS_MAX);
        if (reason) assert.equal(ERRORS[reason].recovery, 'remove');
      }),
    );
  });
});
