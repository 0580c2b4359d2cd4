import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Cancellations } from '../../nodes/cancellations.ts';
import { formatRequestId } from '../../protocol/ids.ts';

const unitId = formatRequestId(randomBytes(32));
const stranger = formatRequestId(randomBytes(32));

describe('nodes/cancellations', () => {
  it('aborts exactly the attempt that is named', () => {
    const cancellations = new Cancellations();
    const first = cancellations.begin({ unitId, dispatch: 1 });
    const second = cancellations.begin({ unitId, dispatch: 2 });
    cancellations.cancel({ unitId: stranger, dispatch: 2 });
    cancellations.cancel({ unitId, dispatch: 3 });
    assert.deepEqual([first.signal.aborted, second.signal.aborted], [false, false]);
    cancellations.cancel({ unitId, dispatch: 2 });
    assert.deepEqual([first.signal.aborted, second.signal.aborted], [false, true]);
    cancellations.cancel({ unitId, dispatch: 2 });
    second.end();
    first.end();
    cancellations.cancel({ unitId, dispatch: 1 });
    assert.equal(first.signal.aborted, false);
  });

  it('remembers a command that overtakes the ticket, but not for ever', () => {
    const cancellations = new Cancellations();
    cancellations.cancel({ unitId, dispatch: 1 });
    assert.equal(cancellations.begin({ unitId, dispatch: 1 }).signal.aborted, true);
    cancellations.cancel({ unitId, dispatch: 2 });
    for (let dispatch = 1; dispatch <= 64; dispatch++)
      cancellations.cancel({ unitId: stranger, dispatch });
    assert.equal(cancellations.begin({ unitId, dispatch: 2 }).signal.aborted, false);
    assert.equal(cancellations.begin({ unitId: stranger, dispatch: 64 }).signal.aborted, true);
  });
});
