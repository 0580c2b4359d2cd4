import assert from 'node:assert/strict';
import proto from '@temporalio/proto';
import * as fc from 'fast-check';
import { Refusal } from '../../edge/refusals.ts';
import { readFields, single, text } from '../../edge/wire.ts';

const { Payload, Payloads } = proto.temporal.api.common.v1;
const { TaskQueue } = proto.temporal.api.taskqueue.v1;

const malformed = (error: unknown) => error instanceof Refusal && error.code === 'edge.malformed';

describe('edge/wire', () => {
  it('reads what the library writes', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.nat(3), (name, normalName, kind) => {
        const bytes = TaskQueue.encode(TaskQueue.fromObject({ name, kind, normalName })).finish();
        const fields = readFields(bytes, [1, 2, 3]);
        assert.equal(text(fields, 1), Buffer.from(name).toString());
        assert.equal(fields.numbers.get(2) ?? 0, kind);
        assert.equal(text(fields, 3), Buffer.from(normalName).toString());
      }),
    );
  });

  it('skips what nobody asked for', () => {
    const data = Buffer.from('data');
    const bytes = Payload.encode({ metadata: { encoding: data }, data }).finish();
    const fields = readFields(bytes, [2]);
    assert.deepEqual([...fields.bytes.keys()], [2]);
    assert.deepEqual(Buffer.from(single(fields, 2) ?? []), data);
  });

  it('takes the last of what should be there once', () => {
    const twice = Buffer.concat([
      TaskQueue.encode({ name: 'a' }).finish(),
      TaskQueue.encode({ name: 'b' }).finish(),
    ]);
    assert.equal(text(readFields(twice, [1]), 1), 'b');
    assert.equal(TaskQueue.decode(twice).name, 'b');
  });

  it('reads any bytes, or says that they are malformed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          readFields(bytes, [1, 2, 3]);
        } catch (error) {
          assert.ok(malformed(error), String(error));
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('makes nothing of a million parts', () => {
    const payloads = Payloads.encode({ payloads: Array.from({ length: 2_000 }, () => ({})) });
    assert.throws(() => readFields(payloads.finish(), []), malformed);
    const hundred = Payloads.encode({ payloads: Array.from({ length: 100 }, () => ({})) }).finish();
    assert.throws(() => readFields(hundred, [1]), malformed);
    assert.equal(readFields(hundred, [2]).bytes.size, 0);
  });

  it('refuses lengths beyond the end, groups and fields without a number', () => {
    for (const hex of ['0a05aabb', '0b0c', '0a', '0200', 'ffffffffffffffffffff01', '0affffffff0f'])
      assert.throws(() => readFields(Buffer.from(hex, 'hex'), [1]), malformed, hex);
  });
});
