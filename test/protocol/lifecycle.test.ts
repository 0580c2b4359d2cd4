import assert from 'node:assert/strict';
import { errorDefinition, ERRORS, isErrorCode, type ErrorCode } from '../../protocol/errors.ts';
import {
  FINAL_STATES,
  isOnPath,
  stepNamed,
  STEPS,
  type Recovery,
  type Stage,
  type StepName,
} from '../../protocol/lifecycle.ts';

const codes = Object.keys(ERRORS).filter(isErrorCode);

/** The codes that a step detects, with one recovery. */
function codesOf(step: string, recovery: Recovery): ErrorCode[] {
  return codes.filter((code) => {
    const row = errorDefinition(code);
    return row.step === step && row.recovery === recovery;
  });
}

describe('protocol/lifecycle', () => {
  it('has the nine steps in the canonical order and words of spec §3.0', () => {
    assert.deepEqual(
      STEPS.map(({ number, name, title }) => `${number} ${name}: ${title}`),
      [
        '1 receive: Receive request',
        '2 segment: Segment',
        '3 schedule: Schedule',
        '4 dispatch: Dispatch',
        '5 execute: Execute',
        '6 prove: Proof-of-Execution',
        '7 validate: Validate',
        '8 aggregate: Aggregate',
        '9 settle: Settle',
      ],
    );
  });

  it('has the three stages, three steps each (spec §3.0)', () => {
    const numbersOf = (wanted: Stage) =>
      STEPS.filter(({ stage }) => stage === wanted).map(({ number }) => number);
    assert.deepEqual(numbersOf('ingestion'), [1, 2, 3]);
    assert.deepEqual(numbersOf('execution'), [4, 5, 6]);
    assert.deepEqual(numbersOf('settlement'), [7, 8, 9]);
  });

  it('runs on the operator plane only what a node does itself', () => {
    const onNodes = STEPS.filter(({ plane }) => plane === 'execution').map(({ name }) => name);
    assert.deepEqual(onNodes, ['execute', 'prove']);
  });

  it('skips Segment and Aggregate for inference, and nothing on the general path', () => {
    const offPath = (path: 'inference' | 'general') =>
      STEPS.map(({ name }) => name).filter((name) => !isOnPath(name, path));
    assert.deepEqual(offPath('inference'), ['segment', 'aggregate']);
    assert.deepEqual(offPath('general'), []);
  });

  it('lets each failure be recovered by the handler of spec §3.4', () => {
    const recoveries = Object.fromEntries(
      STEPS.map(({ name, recoveredBy }) => [name, recoveredBy] as const),
    );
    assert.deepEqual(recoveries, {
      receive: 'receive',
      segment: 'receive',
      schedule: 'schedule',
      dispatch: 'schedule',
      execute: 'schedule',
      prove: 'schedule',
      validate: 'schedule',
      aggregate: 'aggregate',
      settle: 'settle',
    });
  });

  it('recovers no step by a later one', () => {
    for (const step of STEPS)
      assert.ok(stepNamed(step.recoveredBy).number <= step.number, `${step.name} by a later step`);
  });

  it('finds steps by name, and refuses other names', () => {
    for (const step of STEPS) assert.equal(stepNamed(step.name), step);
    assert.throws(
      () => stepNamed('verify' as StepName),
      new RangeError('verify is not a step of the lifecycle'),
    );
  });

  it('has five final states', () => {
    const expected = ['completed', 'rejected', 'failed', 'cancelled', 'invalidated'];
    assert.deepEqual([...FINAL_STATES], expected);
  });
});

describe('protocol/lifecycle and the failure codes', () => {
  it('re-dispatches only what Schedule recovers, from Dispatch on', () => {
    for (const { name, number, recoveredBy } of STEPS) {
      const expected = recoveredBy === 'schedule' && number > stepNamed('schedule').number;
      assert.equal(codesOf(name, 'redispatch').length > 0, expected, name);
    }
  });

  it('rejects only at Receive, while nothing is allocated, and at the two doors', () => {
    const rejecting = new Set(
      codes
        .map(errorDefinition)
        .flatMap(({ step, recovery }) => (recovery === 'reject' ? step : [])),
    );
    assert.deepEqual(rejecting, new Set(['receive', 'channel', 'gateway']));
  });

  it('re-dispatches every fault of a proof or return, and blames the node (spec §3.4)', () => {
    for (const code of codes) {
      const { step, recovery, blamesNode } = errorDefinition(code);
      const isProofFault = code.startsWith('poe.');
      if (isProofFault) assert.ok(step === 'prove' || step === 'validate', code);
      if (isProofFault) assert.equal(recovery, 'redispatch', code);
      const isFault = isProofFault || code === 'validate.minority';
      assert.equal(blamesNode === true, isFault || code === 'node.deadline_exceeded', code);
    }
  });

  it('lets others vote where results differ, and ends by the vote (spec §3.4)', () => {
    assert.deepEqual(codesOf('validate', 'vote'), ['validate.disagreement', 'validate.minority']);
    assert.deepEqual(codesOf('validate', 'accept'), ['validate.hash_only']);
    assert.deepEqual(codesOf('channel', 'remove'), [
      'node.removed_wrong_results',
      'node.removed_bad_proofs',
    ]);
  });

  it('ends a unit at these points and no others', () => {
    assert.deepEqual(
      STEPS.flatMap(({ name }) => codesOf(name, 'fail')),
      [
        'receive.not_started',
        'coordinator.internal',
        'coordinator.run_lost',
        'schedule.deadline_elapsed',
        'execute.cancelled',
        'validate.overruled',
        'validate.no_majority',
      ],
    );
  });

  it('covers every failure mode that spec §3.4 names', () => {
    const named: [StepName, Recovery, ErrorCode[]][] = [
      [
        'receive',
        'reject',
        [
          'receive.insufficient_credit',
          'receive.malformed_request',
          'receive.unknown_workload_class',
        ],
      ],
      // The unit waits first; this is what ends the wait.
      ['schedule', 'fail', ['schedule.deadline_elapsed']],
      ['execute', 'redispatch', ['node.deadline_exceeded']],
      ['prove', 'redispatch', ['poe.missing', 'poe.malformed']],
      ['validate', 'redispatch', ['poe.hash_mismatch']],
    ];
    for (const [step, recovery, expected] of named)
      for (const code of expected) assert.ok(codesOf(step, recovery).includes(code), code);
  });
});
