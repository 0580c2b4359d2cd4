import assert from 'node:assert/strict';
import {
  afterFailure,
  DISPATCH_BUDGET,
  redispatchDeadlineMs,
  type Verdict,
} from '../../protocol/dispatch.ts';
import { errorDefinition, ERRORS, isErrorCode, type ErrorCode } from '../../protocol/errors.ts';
import type { AcceptedInference } from '../../protocol/receive.ts';

const codes = Object.keys(ERRORS).filter(isErrorCode);
const redispatched = codes.filter((code) => errorDefinition(code).recovery === 'redispatch');
const final = codes.filter((code) => !redispatched.includes(code));
const poeFaults = redispatched.filter((code) => code.startsWith('poe.'));
const refusals: ErrorCode[] = [
  'dispatch.envelope_rejected',
  'execute.context_exceeded',
  'execute.invalid_request',
];
const REDISPATCH: Verdict = { kind: 'redispatch' };
const FAILED: Verdict = { kind: 'end', state: 'failed' };
const REJECTED: Verdict = { kind: 'end', state: 'rejected' };

/** Every sequence of failures that a unit can live through, with the verdict on its last. */
function* histories(before: readonly ErrorCode[] = []): Generator<[readonly ErrorCode[], Verdict]> {
  for (const code of codes) {
    const failures = [...before, code];
    const verdict = afterFailure(failures);
    yield [failures, verdict];
    assert.ok(failures.length <= 5, `a sixth dispatch after ${before.join(', ')}`);
    if (verdict.kind === 'redispatch') yield* histories(failures);
  }
}

function ofKind(failures: readonly ErrorCode[], kind: readonly ErrorCode[]): number {
  return failures.filter((code) => kind.includes(code)).length;
}

describe('protocol/dispatch, over every possible sequence of failures', () => {
  let all: [readonly ErrorCode[], Verdict][];

  before(() => {
    all = [...histories()];
  });

  it('visits many, of each length up to the fifth dispatch', () => {
    const lengths = new Set(all.map(([failures]) => failures.length));
    assert.deepEqual(lengths, new Set([1, 2, 3, 4, 5]));
    assert.ok(all.length > 10_000, `${all.length}`);
  });

  it('never dispatches a unit more than five times', () => {
    assert.equal(DISPATCH_BUDGET.dispatchesMax, 5);
    for (const [failures, verdict] of all)
      if (failures.length >= 5) assert.equal(verdict.kind, 'end', failures.join(', '));
  });

  it('goes on after the first deadline miss, and ends with the second', () => {
    for (const [failures, verdict] of all) {
      const misses = ofKind(failures, ['node.deadline_exceeded']);
      if (misses > 1) assert.deepEqual(verdict, FAILED, failures.join(', '));
      assert.ok(misses <= 2, failures.join(', '));
    }
    assert.deepEqual(afterFailure(['node.deadline_exceeded']), REDISPATCH);
  });

  it('gives a unit three dispatches for PoE faults', () => {
    for (const [failures, verdict] of all)
      if (ofKind(failures, poeFaults) === 3) assert.deepEqual(verdict, FAILED, failures.join(', '));
    for (const first of poeFaults)
      for (const second of poeFaults) {
        assert.deepEqual(afterFailure([first]), REDISPATCH);
        assert.deepEqual(afterFailure([first, second]), REDISPATCH);
      }
  });

  it('gives a unit three dispatches for lost nodes', () => {
    for (const lost of [
      'dispatch.node_unreachable',
      'execute.node_lost',
      'execute.backend_failed',
    ]) {
      assert.ok(isErrorCode(lost));
      assert.deepEqual(afterFailure([lost]), REDISPATCH);
      assert.deepEqual(afterFailure([lost, lost]), REDISPATCH);
      assert.deepEqual(afterFailure([lost, lost, lost]), FAILED);
    }
  });

  it('counts each kind of failure by itself', () => {
    const failures: ErrorCode[] = [
      'poe.missing',
      'node.deadline_exceeded',
      'execute.node_lost',
      'poe.malformed',
    ];
    for (const count of [1, 2, 3, 4])
      assert.deepEqual(afterFailure(failures.slice(0, count)), REDISPATCH);
    assert.deepEqual(afterFailure([...failures, 'execute.node_lost']), FAILED);
  });

  it('never ends a request on the word of one node', () => {
    for (const code of redispatched) assert.deepEqual(afterFailure([code]), REDISPATCH, code);
    for (const [failures, verdict] of all) {
      const last = failures.at(-1);
      assert.ok(last);
      if (verdict.kind === 'end' && verdict.state === 'rejected')
        assert.ok(refusals.includes(last) && ofKind(failures, [last]) > 1, failures.join(', '));
    }
  });

  it('rejects a request once two nodes refuse it for the same reason', () => {
    for (const refusal of refusals)
      for (const other of redispatched.filter((code) => !refusals.includes(code))) {
        assert.deepEqual(afterFailure([refusal, refusal]), REJECTED);
        assert.deepEqual(afterFailure([refusal, other]), REDISPATCH);
        assert.deepEqual(afterFailure([refusal, other, refusal]), REJECTED);
      }
  });

  it('takes the word of one node for a refusal when there is no other node to ask', () => {
    for (const code of redispatched)
      assert.deepEqual(
        afterFailure([code], false),
        refusals.includes(code) ? REJECTED : REDISPATCH,
        code,
      );
  });

  it('does not take two different refusals for agreement', () => {
    const [first, second] = refusals;
    assert.ok(first && second);
    assert.deepEqual(afterFailure([first, second]), REDISPATCH);
  });

  it('ends at once after what no other node could mend', () => {
    assert.ok(final.length > 0);
    for (const code of final) assert.deepEqual(afterFailure([code]), FAILED, code);
  });

  it('lets a unit wait for its next node as long as for its first, and never less', () => {
    const parameters = { deadlineSeconds: 120 } as AcceptedInference['parameters'];
    const accepted = { deadlineAtMs: 500_000, parameters };
    assert.equal(redispatchDeadlineMs(accepted, 600_000), 720_000);
    assert.equal(redispatchDeadlineMs(accepted, 100_000), 500_000);
  });

  it('refuses to decide about no failure', () => {
    assert.throws(() => afterFailure([]), new RangeError('no attempt has failed'));
  });
});
