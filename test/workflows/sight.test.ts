import assert from 'node:assert/strict';
import { Context } from '@temporalio/activity';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { CANARY_DEADLINE_SECONDS, CANARY_MAX_TOKENS } from '../../protocol/measure.ts';
import { CHECKED } from '../support/check-scene.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { assertAlike, given, type Difference } from '../support/sight.ts';
import { startTestNode, type Behaviour } from '../support/test-node.ts';
import { until } from '../support/until.ts';

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
  { path: /^info\.workflowExecution\.(workflowId|runId)$/, why: 'drawn from the task token' },
  { path: /^info\.(taskToken|base64TaskToken)/, why: 'sealed by the edge, of one length' },
];

/** One node gets a canary, and then a request with the same parameters. */
const CANARY_DIFFERENCES: readonly Difference[] = [
  { path: /^input\.envelope\.(ciphertext|iv|tag)$/, why: 'ciphertext', anySize: true },
  { path: /^input\.envelope\.recipients\.0\.encrypted_key$/, why: 'ciphertext' },
  { path: /^input\.ticket$/, why: 'ciphertext', anySize: true },
  { path: /^input\.requesterKey\.x$/, why: 'a key, of the canary alone or of a gateway' },
  { path: /^input\.envelope\.aad$/, why: 'a digest of parameters and that key' },
  { path: /^payload$/, why: 'what is asked', anySize: true },
  { path: /^ticket\.(unitId|dispatch)$/, why: 'drawn' },
  { path: /^ticket\.seed$/, why: 'drawn', anySize: true },
  { path: /^ticket\.channelToken$/, why: 'a MAC that only the coordinator can check' },
  { path: /^info\.(currentAttemptS|s)cheduledTimestampMs$/, why: 'time' },
  { path: /^info\.workflowExecution\.(workflowId|runId)$/, why: 'drawn from the task token' },
  { path: /^info\.(taskToken|base64TaskToken)/, why: 'sealed by the edge, of one length' },
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

  it('is the same for a canary and for a request', async () => {
    network = await startCoordination();
    const seen: object[] = [];
    const node = await startTestNode({
      ...network,
      name: 'probed',
      tier: 1,
      backend: instantBackend(),
      isTrueToItself: true,
      async behaviour(honest, input, keys) {
        seen.push({ ...(await given(input, keys)), info: Context.current().info });
        return honest();
      },
    });
    await until(() => node.probed() > 0, 'it has its canary');
    const response = await network.chat({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: 'one two three' }],
      max_tokens: CANARY_MAX_TOKENS,
      deadline_seconds: CANARY_DEADLINE_SECONDS,
    });
    assert.equal(response.status, 200, await response.text());
    const [canary, request] = [seen[0], seen.at(-1)];
    assert.ok(canary && request && canary !== request);
    assertAlike(canary, request, CANARY_DIFFERENCES);
    await node.stop();
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
