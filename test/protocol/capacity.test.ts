import assert from 'node:assert/strict';
import { capacityMessage, NEARNESS, type CapacityPredicate } from '../../protocol/capacity.ts';

describe('protocol/capacity', () => {
  it('says of each predicate what it means, and where in the order the request stood', () => {
    const all: CapacityPredicate[] = ['no_nodes', ...NEARNESS];
    const messages = all.map((predicate) =>
      capacityMessage({ predicate, queue_position: 2, queue_length: 3 }),
    );
    assert.equal(new Set(messages).size, all.length);
    for (const message of messages)
      assert.match(message, /^\w.*\. It was number 2 of 3 that waited\.$/);
  });

  it('says nothing of a place that it never had', () => {
    const message = capacityMessage({
      predicate: 'no_nodes',
      queue_position: null,
      queue_length: 0,
    });
    assert.equal(message, 'The pool has no nodes.');
  });
});
