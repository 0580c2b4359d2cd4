import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from '@temporalio/worker';
import { workflowBundle, type WorkflowBundle } from '../../workers/workflow-bundle.ts';
import '../support/quiet-temporal.ts';
import { HISTORIES, type RecordedHistory } from '../support/history.ts';

/** Runs that must stay replayable: a change that breaks one needs a decision record. */
const EXPECTED = [
  'budget-used-up',
  'cancelled-returned',
  'cancelled',
  'check-agreed',
  'check-coordinator-killed',
  'check-faulty-checker',
  'check-hash-only',
  'check-lost-checker',
  'check-no-majority-strict',
  'check-no-majority-validated',
  'check-overruled',
  'check-refused',
  'check-strict-agreed',
  'check-strict-cancelled',
  'check-strict-overruled',
  'check-waited',
  'coordinator-killed',
  'deadline-elapsed',
  'fast-path',
  'poe-fault',
  'waited',
];

describe('workflows: recorded histories replay', () => {
  let bundle: WorkflowBundle;
  before(async () => {
    bundle = await workflowBundle({ log: console });
  });

  const read = async (name: string) =>
    JSON.parse(await readFile(join(HISTORIES, `${name}.json`), 'utf8')) as RecordedHistory;

  it('has all of them', async () => {
    const files = await readdir(HISTORIES);
    assert.deepEqual(
      files.toSorted(),
      EXPECTED.map((name) => `${name}.json`),
    );
  });

  for (const name of EXPECTED)
    it(name, async () => {
      await Worker.runReplayHistory({ workflowBundle: bundle }, await read(name), 'replayed');
    });

  it('notices a history that the code would not have made', async () => {
    const history = await read('fast-path');
    const text = JSON.stringify(history).replaceAll('"execute"', '"exfiltrate"');
    await assert.rejects(
      Worker.runReplayHistory({ workflowBundle: bundle }, JSON.parse(text), 'replayed'),
      /[Nn]ondeterminism|TMPRL1100/,
    );
  });
});
