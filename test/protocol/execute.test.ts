import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { ERRORS } from '../../protocol/errors.ts';
import { nodeReturnSchema } from '../../protocol/execute-schema.ts';
import {
  executeLimits,
  NODE_REPORTED_CODES,
  nodeReportedCode,
  reportedTimes,
} from '../../protocol/execute.ts';

const NO_TIME = { executeElapsedMs: 0, proveElapsedMs: 0 };

describe('protocol/execute limits', () => {
  it('leaves a node its whole deadline after decrypt (spec step 05)', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 86_400 }),
        fc.nat(1 << 20),
        (deadline, payloadBytes) => {
          const { startToCloseMs } = executeLimits(deadline, payloadBytes);
          assert.ok(Number.isInteger(startToCloseMs));
          assert.ok(startToCloseMs >= deadline * 1_000 + 1_000 + payloadBytes / 1_000);
          assert.ok(startToCloseMs < deadline * 1_000 + 1_001 + payloadBytes / 1_000);
        },
      ),
    );
  });

  it('notices dead and dying nodes whatever the deadline is', () => {
    const expected = { scheduleToStartMs: 2_000, heartbeatMs: 10_000 };
    assert.deepEqual(executeLimits(120, 500_000), { ...expected, startToCloseMs: 121_500 });
    assert.deepEqual(executeLimits(1, 0), { ...expected, startToCloseMs: 2_000 });
  });
});

describe('protocol/execute nodeReportedCode', () => {
  const allowed: readonly string[] = NODE_REPORTED_CODES;

  it('takes the codes that a node may report', () => {
    for (const code of NODE_REPORTED_CODES) assert.equal(nodeReportedCode(code), code);
  });

  it('takes everything else for a backend failure', () => {
    const others = Object.keys(ERRORS).filter((code) => !allowed.includes(code));
    assert.ok(others.includes('receive.insufficient_credit') && others.includes('poe.missing'));
    for (const type of [...others, '', 'toString', '0', null, undefined])
      assert.equal(nodeReportedCode(type), 'execute.backend_failed', String(type));
  });

  it('never gives a code off the list, nor one that ends a request by itself', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.constantFrom(...Object.keys(ERRORS))), (type) => {
        const code = nodeReportedCode(type);
        assert.ok(allowed.includes(code));
        assert.equal(ERRORS[code].recovery, 'redispatch');
      }),
    );
  });
});

describe('protocol/execute reportedTimes', () => {
  it('reads what an honest node says', () => {
    const returned = { decryptedAtMs: 1_000, finishedAtMs: 1_041.5, proveElapsedMs: 2.5 };
    assert.deepEqual(reportedTimes(returned), { executeElapsedMs: 41.5, proveElapsedMs: 2.5 });
  });

  it('gives finite times that are not negative, and never throws, for any JSON', () => {
    const key = fc.constantFrom('decryptedAtMs', 'finishedAtMs', 'proveElapsedMs');
    const number = fc.oneof(fc.double(), fc.integer());
    const anything = fc.oneof(fc.jsonValue(), fc.dictionary(key, fc.oneof(number, fc.jsonValue())));
    fc.assert(
      fc.property(anything, (value) => {
        // As it comes: through JSON, where NaN and infinities are null.
        const times = reportedTimes(JSON.parse(JSON.stringify(value)));
        for (const elapsedMs of Object.values(times))
          assert.ok(Number.isFinite(elapsedMs) && elapsedMs >= 0, String(elapsedMs));
      }),
      { numRuns: 1_000 },
    );
  });

  const hostile: [string, unknown][] = [
    ['nothing', null],
    ['no object', 'text'],
    ['no times', {}],
    ['times that can not be converted', '{"finishedAtMs":{"toString":1},"decryptedAtMs":0}'],
    ['a prove time that can not be converted', '{"proveElapsedMs":{"valueOf":1,"toString":2}}'],
    ['numbers as text', { decryptedAtMs: '1', finishedAtMs: '5', proveElapsedMs: '7' }],
    ['a clock that goes backwards', { decryptedAtMs: 5, finishedAtMs: 1, proveElapsedMs: -1 }],
    ['a difference beyond the doubles', { decryptedAtMs: -1e308, finishedAtMs: 1e308 }],
  ];
  for (const [what, returned] of hostile)
    it(`shows no time for ${what}`, () => {
      const text = typeof returned === 'string' && returned.startsWith('{');
      assert.deepEqual(reportedTimes(text ? JSON.parse(returned) : returned), NO_TIME);
    });
});

describe('protocol/execute nodeReturnSchema', () => {
  const returned = {
    scheme: 'poe.v1',
    poe: 'ab',
    signature: 'sig',
    sealedResult: { ciphertext: 'c2VhbGVk', tag: 'kept' },
    decryptedAtMs: 0,
    finishedAtMs: Date.UTC(2100, 0, 1),
  };

  it('keeps the sealed result as it is, and leaves the proof to its own checks', () => {
    assert.deepEqual(nodeReturnSchema.parse(returned), returned);
    const { poe: _poe, scheme: _scheme, ...without } = returned;
    assert.ok(nodeReturnSchema.safeParse(without).success);
  });

  it('refuses times that no database holds, and a missing result', () => {
    const wrong: object[] = [
      { decryptedAtMs: -1 },
      { finishedAtMs: Date.UTC(2100, 0, 1) + 1 },
      { finishedAtMs: NaN },
      { decryptedAtMs: '5' },
      { sealedResult: undefined },
      { sealedResult: {} },
      { sealedResult: 'sealed' },
    ];
    for (const change of wrong)
      assert.ok(
        !nodeReturnSchema.safeParse({ ...returned, ...change }).success,
        JSON.stringify(change),
      );
  });
});
