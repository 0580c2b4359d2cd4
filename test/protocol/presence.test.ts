import assert from 'node:assert/strict';
import { errorDefinition, isErrorCode } from '../../protocol/errors.ts';
import {
  LOSSES,
  RUNNING_MAX,
  TRANSITION_CODES,
  transitionMessage,
} from '../../protocol/presence.ts';
import { heartbeatSchema } from '../../protocol/presence-schema.ts';

const unitId = `req_${'1'.repeat(64)}`;

describe('protocol/presence', () => {
  it('has a sentence for every transition, and says so of others', () => {
    assert.equal(new Set(TRANSITION_CODES).size, 9);
    for (const code of TRANSITION_CODES) assert.match(transitionMessage(code), /^[A-Z].*\.$/);
    for (const other of ['toString', 'node.vanished'])
      assert.equal(transitionMessage(other), `Unknown event ${other}.`);
  });

  it('keeps losses, and only those, among the failures: they are waited out, without blame', () => {
    assert.deepEqual(TRANSITION_CODES.filter(isErrorCode), [...LOSSES]);
    for (const code of LOSSES) {
      const { step, recovery, blamesNode } = errorDefinition(code);
      assert.deepEqual([step, recovery, blamesNode], ['channel', 'wait', undefined], code);
    }
  });

  it('reads heartbeats strictly', () => {
    const attempt = { unitId, dispatch: 1 };
    const named = (length: number) => Array.from({ length }, () => ({ ...attempt }));
    const challenge = { sequence: 7, nonce: 'a'.repeat(22) };
    const good = { ready: true, running: [attempt], ...challenge };
    const full = { ready: false, running: named(RUNNING_MAX), ...challenge };
    for (const body of [good, full, { ready: false, running: [], ...challenge }])
      assert.deepEqual(heartbeatSchema.parse(body), body);
    const bad: unknown[] = [
      undefined,
      null,
      {},
      { ready: true },
      { ready: true, running: [attempt] },
      { ...good, sequence: -1 },
      { ...good, sequence: 0.5 },
      { ...good, nonce: 'a'.repeat(1_000) },
      { ...good, ready: 'yes' },
      { ...good, load: 3 },
      { ...good, running: named(RUNNING_MAX + 1) },
      { ...good, running: [{ ...attempt, unitId: 'req_1' }] },
      { ...good, running: [{ ...attempt, dispatch: 0 }] },
      { ...good, running: [{ ...attempt, dispatch: 2 ** 32 }] },
      { ...good, running: [{ ...attempt, more: 1 }] },
    ];
    for (const body of bad) assert.ok(!heartbeatSchema.safeParse(body).success);
  });
});
