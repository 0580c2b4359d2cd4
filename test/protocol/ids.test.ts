import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import {
  formatNodeId,
  formatRequestId,
  formatSubTaskId,
  formatTaskId,
  idBytes,
  InvalidIdError,
  isNodeId,
  isRequestId,
  isSubTaskId,
  isTaskId,
  isUnitId,
  parseNodeId,
  parseRequestId,
  parseUnitId,
  shortId,
} from '../../protocol/ids.ts';

const raw = fc.uint8Array({ minLength: 32, maxLength: 32 });
const kinds = [
  { prefix: 'req_', format: formatRequestId, test: isRequestId },
  { prefix: 'prlx_', format: formatTaskId, test: isTaskId },
  { prefix: 'sub_', format: formatSubTaskId, test: isSubTaskId },
  { prefix: 'nd_', format: formatNodeId, test: isNodeId },
];

describe('protocol/ids', () => {
  it('shows raw bytes and gives them back, for every kind', () => {
    fc.assert(
      fc.property(raw, fc.constantFrom(...kinds), (bytes, { prefix, format, test }) => {
        const id = format(bytes);
        assert.equal(id, prefix + Buffer.from(bytes).toString('hex'));
        assert.ok(test(id));
        assert.deepEqual(idBytes(id), bytes);
        assert.equal(shortId(id), id.slice(0, prefix.length + 8));
      }),
    );
  });

  it('keeps the kinds apart', () => {
    const bytes = new Uint8Array(32);
    for (const { format } of kinds) {
      const id = format(bytes);
      assert.equal(kinds.filter(({ test }) => test(id)).length, 1, id);
    }
    assert.ok(isUnitId(formatRequestId(bytes)) && isUnitId(formatSubTaskId(bytes)));
    assert.ok(!isUnitId(formatTaskId(bytes)) && !isUnitId(formatNodeId(bytes)));
  });

  it('refuses bytes of another length', () => {
    for (const length of [0, 31, 33])
      for (const { format } of kinds)
        assert.throws(
          () => format(new Uint8Array(length)),
          new InvalidIdError(`An identifier is 32 bytes, not ${length}.`),
        );
  });

  it('refuses every other way to write an id', () => {
    const id = formatRequestId(Buffer.alloc(32, 0xab));
    const wrong = [
      id.toUpperCase(),
      id.replace('ab', 'AB'),
      `${id}\n`,
      ` ${id}`,
      `${id}0`,
      id.slice(0, -1),
      id.slice(4),
      id.replace('req_', 'nd_'),
      '',
      undefined,
      null,
      7,
      [id],
    ];
    for (const value of wrong) {
      assert.equal(isRequestId(value), false, String(value));
      assert.throws(() => parseRequestId(value), InvalidIdError);
    }
    assert.equal(parseRequestId(id), id);
  });

  it('says what it expected, and quotes little of what it got', () => {
    assert.throws(
      () => parseNodeId(`nd_${'z'.repeat(5000)}`),
      (error: Error) => {
        assert.match(
          error.message,
          /^Expected a node id \(nd_\) with 64 lower-case hex digits, got/,
        );
        return error.message.length < 200;
      },
    );
    assert.throws(() => parseUnitId(formatNodeId(new Uint8Array(32))), /unit id \(req_ or sub_\)/);
  });
});
