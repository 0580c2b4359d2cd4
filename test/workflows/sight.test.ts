import assert from 'node:assert/strict';
import { Context } from '@temporalio/activity';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { CHECKED } from '../support/check-scene.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { assertAlike, given, type Difference } from '../support/sight.ts';
import { startTestNode, type Behaviour } from '../support/test-node.ts';

/** Two nodes get one unit, one after the other, by one run. */
const DIFFERENCES: readonly Difference[] = [
  { path: /^input\.envelope\.recipients\.0\.header\.kid$/, why: "the node's own id" },
  { path: /^ticket\.nodeId$/, why: "the node's own id" },
  { path: /^info\.taskQueue$/, why: "the node's own queue" },
  { path: /^input\.envelope\.recipients\.0\.encrypted_key$/, why: 'ciphertext' },
  { path: /^input\.ticket$/, why: 'ciphertext' },
  { path: /^ticket\.dispatch$/, why: 'the opaque number of the attempt, always of ten digits' },
  { path: /^ticket\.channelToken$/, why: 'a MAC that only the coordinator can check' },
  { path: /^info\.(currentAttemptS|s)cheduledTimestampMs$/, why: 'time' },
  // Raw, these count the activities of a run: the edge hides them, and nothing else is left to it.
  { path: /^info\.activityId$/, why: 'left to the edge' },
  { path: /^info\.(taskToken|base64TaskToken)$/, why: 'left to the edge', anySize: true },
];

describe('workflows: what Temporal shows a node of an attempt', () => {
  let network: Coordination;
  afterEach(() => network.stop());

  it('is the same for the first and for another one', async () => {
    network = await startCoordination();
    const { view, nodes } = await compared(async (honest) => ({
      ...(await honest()),
      poe: '0'.repeat(64),
    }));
    assert.deepEqual(view.proof_of_execution?.dispatch, 2, 'the plane has the number itself');
    assert.equal(view.proof_of_execution.node, nodes[1]?.keys.nodeId);
  });

  it('is the same for the first and for one that checks it', async () => {
    network = await startCoordination(1, CHECKED);
    const { view, nodes } = await compared((honest) => honest());
    assert.equal(view.proof_of_execution?.node, nodes[0]?.keys.nodeId);
    const check = await network.database.dispatch.findFirstOrThrow({ where: { isCheck: true } });
    assert.deepEqual([check.nodeId, check.outcome], [nodes[1]?.keys.nodeId, 'accepted']);
  });

  /** Two nodes get the same unit; what the second one sees differs in nothing but the list. */
  async function compared(first: Behaviour) {
    const seen: object[] = [];
    let headers: object = {};
    const start = (name: string, tier: number, behaviour: Behaviour) =>
      startTestNode({
        ...network,
        name,
        tier,
        backend: instantBackend(),
        interceptors: {
          activity: [
            () => ({
              inbound: {
                execute(input, next) {
                  headers = input.headers;
                  return next(input);
                },
              },
            }),
          ],
        },
        async behaviour(honest, input, keys, returnKey) {
          const { info } = Context.current();
          seen.push({ ...(await given(input, keys)), info, headers });
          return behaviour(honest, input, keys, returnKey);
        },
      });
    const nodes = [await start('first', 1, first), await start('second', 2, (honest) => honest())];
    const response = await network.chat({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: 'one two three' }],
      max_tokens: 16,
      stream: true,
    });
    const text = await response.text();
    assert.match(text, /"content":"one "/);
    const view = await network.ended(response.headers.get('x-request-id') ?? '');
    const [one, other, ...more] = seen;
    assert.ok(one && other && more.length === 0);
    assertAlike(one, other, DIFFERENCES);
    for (const node of nodes) await node.stop();
    return { view, nodes };
  }
});
