import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { ApplicationFailure } from '@temporalio/activity';
import { generateNodeKeys, generateX25519Key, type NodeKeys } from '../../crypto/keys.ts';
import { signProof } from '../../crypto/prove.ts';
import { sealReturn } from '../../crypto/return.ts';
import { openTicket } from '../../crypto/ticket.ts';
import { ContextExceededError } from '../../nodes/backends/backend.ts';
import type { ErrorCode } from '../../protocol/errors.ts';
import type { ExecuteInput, NodeReturn } from '../../protocol/execute.ts';
import { formatRequestId, type RequestId } from '../../protocol/ids.ts';
import { proofOfExecution } from '../../protocol/prove.ts';
import type { RequesterKey } from '../../protocol/receive.ts';
import { emptyStreamDigest, resultBytes, type InferenceResult } from '../../protocol/result.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { historyOf, record } from '../support/history.ts';
import { INSTANT_MODEL, instantBackend } from '../support/instant-backend.ts';
import { balances } from '../support/seeded.ts';
import { startTestNode, type Behaviour, type TestNode } from '../support/test-node.ts';

interface Fault {
  readonly name: string;
  readonly code: ErrorCode;
  readonly behaviour: Behaviour;
  readonly stream?: true;
  /** Whether it counts against the node; so it is unless said otherwise. */
  readonly blameless?: true;
}

/** Returns what an honest node would for these bytes: right hash, right signature, right seal. */
async function committed(
  input: ExecuteInput,
  keys: NodeKeys,
  returnKey: RequesterKey,
  honest: NodeReturn,
  change: (result: InferenceResult) => InferenceResult,
  unitId?: RequestId,
): Promise<NodeReturn> {
  const ticket = await openTicket(input.ticket, keys.encryption.privateKey);
  const bytes = resultBytes(
    change({
      v: 1,
      modelDigest: INSTANT_MODEL.digest,
      engine: 'instant/1',
      seed: ticket.seed,
      choices: [{ text: 'made up', tokenIds: [1, 2], finishReason: 'stop' }],
      usage: { promptTokens: 1, completionTokens: 2 },
      streamDigest: emptyStreamDigest,
    }),
  );
  const of = unitId ?? ticket.unitId;
  const poe = proofOfExecution(of, bytes, keys.nodeId);
  const signature = await signProof(keys.signing.privateKey, bytes, poe);
  const sealedResult = await sealReturn({
    resultBytes: bytes,
    unitId: of,
    dispatch: ticket.dispatch,
    nodeId: keys.nodeId,
    requesterKey: input.requesterKey,
    returnKey,
  });
  return { ...honest, poe, signature, sealedResult };
}

/** What a faulty node makes of an honest return. */
type Tampering = (
  honest: NodeReturn,
  input: ExecuteInput,
  keys: NodeKeys,
  returnKey: RequesterKey,
) => Promise<unknown>;

const tampered =
  (fault: Tampering): Behaviour =>
  async (honest, input, keys, returnKey) =>
    fault(await honest(), input, keys, returnKey);

/** Commits properly to a result of its own making. */
const commits = (
  change: (result: InferenceResult) => InferenceResult,
  unitId?: RequestId,
): Behaviour =>
  tampered((honest, input, keys, returnKey) =>
    committed(input, keys, returnKey, honest, change, unitId),
  );

const FAULTS: readonly Fault[] = [
  {
    name: 'returns no PoE',
    code: 'poe.missing',
    behaviour: tampered(async ({ poe: _poe, ...rest }) => rest),
  },
  {
    name: 'returns nothing at all',
    code: 'poe.malformed',
    behaviour: async () => null,
  },
  {
    name: 'returns times that no clock shows',
    code: 'poe.malformed',
    behaviour: tampered(async (honest) => ({ ...honest, decryptedAtMs: 'yesterday' })),
  },
  {
    name: 'names an unknown scheme',
    code: 'poe.unknown_scheme',
    behaviour: tampered(async (honest) => ({ ...honest, scheme: 'poe.v9' })),
  },
  {
    name: 'sends a PoE that is no hash',
    code: 'poe.malformed',
    behaviour: tampered(async (honest) => ({ ...honest, poe: 'trust me' })),
  },
  {
    name: 'sends a wrong hash',
    code: 'poe.hash_mismatch',
    behaviour: tampered(async (honest) => ({ ...honest, poe: '0'.repeat(64) })),
  },
  {
    name: 'signs with a key that is not its own',
    code: 'poe.bad_signature',
    behaviour: tampered(async (honest, _input, keys) => {
      const stranger = await generateNodeKeys();
      const other = await signProof(stranger.signing.privateKey, randomBytes(32), honest.poe);
      assert.notEqual(stranger.nodeId, keys.nodeId);
      return { ...honest, signature: other };
    }),
  },
  {
    name: 'does not sign',
    code: 'poe.bad_signature',
    behaviour: tampered(async ({ signature: _signature, ...rest }) => rest),
  },
  {
    name: 'seals the result to nobody who is here',
    code: 'poe.malformed',
    behaviour: async (honest) => {
      const stranger = (await generateX25519Key()).publicJwk;
      return honest({ returnKey: () => stranger });
    },
  },
  {
    name: 'proves another unit',
    code: 'poe.malformed',
    behaviour: commits((same) => same, formatRequestId(randomBytes(32))),
  },
  {
    name: 'ran another model',
    code: 'poe.result_invalid',
    behaviour: commits((result) => ({
      ...result,
      modelDigest: `sha256:${'9'.repeat(64)}`,
    })),
  },
  {
    name: 'used another seed',
    code: 'poe.result_invalid',
    behaviour: commits((result) => ({ ...result, seed: (result.seed + 1) >>> 0 })),
  },
  {
    name: 'claims more tokens than were asked for',
    code: 'poe.result_invalid',
    behaviour: commits((result) => ({
      ...result,
      usage: { promptTokens: 1, completionTokens: 9_999 },
    })),
  },
  {
    name: 'cuts the answer short by itself',
    code: 'poe.result_invalid',
    behaviour: commits((result) => ({
      ...result,
      choices: [{ text: 'made', tokenIds: [1, 2], finishReason: 'length' }],
    })),
  },
  {
    name: 'returns more than the request allows',
    code: 'poe.oversize',
    behaviour: commits((result) => ({
      ...result,
      choices: [{ text: 'x'.repeat(200_000), tokenIds: [1, 2], finishReason: 'stop' }],
    })),
  },
  {
    name: 'streams one text and commits to another',
    code: 'poe.stream_mismatch',
    stream: true,
    behaviour: commits((same) => same),
  },
  {
    name: 'says that its backend failed',
    code: 'execute.backend_failed',
    blameless: true,
    behaviour: async () => {
      throw ApplicationFailure.nonRetryable('out of memory', 'execute.backend_failed');
    },
  },
  {
    name: 'tries to end the request by a code that is not its to use',
    code: 'execute.backend_failed',
    blameless: true,
    behaviour: async () => {
      throw ApplicationFailure.nonRetryable('give up', 'schedule.deadline_elapsed');
    },
  },
  {
    name: 'crashes in its activity',
    code: 'execute.backend_failed',
    blameless: true,
    behaviour: async () => {
      throw new Error('segmentation fault');
    },
  },
  {
    name: 'claims that it missed the deadline',
    code: 'node.deadline_exceeded',
    behaviour: async () => {
      throw ApplicationFailure.nonRetryable('late', 'node.deadline_exceeded');
    },
  },
];

describe('workflows: a faulty return is never accepted', () => {
  let network: Coordination;
  let honest: TestNode;
  before(async () => {
    network = await startCoordination();
    honest = await start('honest', 2);
  });
  after(async () => {
    await honest.stop();
    await network.stop();
  });

  function start(
    name: string,
    tier: number,
    behaviour?: Behaviour,
    backend = instantBackend(),
  ): Promise<TestNode> {
    const { temporalAddress, coordinatorUrl } = network;
    const base = { temporalAddress, coordinatorUrl, backend, name, tier };
    return startTestNode(behaviour ? { ...base, behaviour } : base);
  }

  async function stop(node: TestNode): Promise<void> {
    await node.stop();
    await network.database.node.update({
      where: { id: node.keys.nodeId },
      data: { status: 'removed' },
    });
  }

  const chat = (stream = false) =>
    network.chat({
      model: 'instant',
      messages: [{ role: 'user', content: 'one two three' }],
      max_tokens: 16,
      stream,
    });

  for (const { name, code, behaviour, stream, blameless } of FAULTS)
    it(`a node that ${name}: ${code}, and another node serves the request`, async () => {
      const before = await balances(network.database);
      // The smallest node comes first, so the faulty one gets the unit.
      const faulty = await start('faulty', 1, behaviour);
      try {
        const response = await chat(stream);
        const text = await response.text();
        assert.equal(response.status, 200, text);
        const id = response.headers.get('x-request-id') ?? '';
        const view = await network.ended(id);
        assert.equal(view.status, 'completed');
        assert.equal(view.result?.choices[0]?.message.content, 'one two three');
        assert.equal(view.proof_of_execution?.node, honest.keys.nodeId);
        assert.equal(view.proof_of_execution?.dispatch, 2);
        assert.equal(faulty.executed(), 1);
        const events = await network.database.failureEvent.findMany({ where: { unitId: id } });
        assert.deepEqual(
          events.map((event) => [event.code, event.dispatch, event.nodeId, event.recovery]),
          [[code, 1, faulty.keys.nodeId, 'redispatch']],
        );
        const flags = await network.database.nodeEvent.findMany({ where: { unitId: id } });
        assert.deepEqual(
          flags.map((flag) => [flag.code, flag.nodeId]),
          blameless ? [] : [[code, faulty.keys.nodeId]],
        );
        // Paid once, for the attempt that was accepted.
        const after = await balances(network.database);
        const spent = (before['acct_demo:available'] ?? 0n) - (after['acct_demo:available'] ?? 0n);
        assert.equal(spent, BigInt(view.charged_wei));
        assert.equal(after['acct_demo:reserved'], 0n);
        if (code === 'poe.hash_mismatch')
          await record(await historyOf(network.client, id), 'poe-fault');
      } finally {
        await stop(faulty);
      }
    });

  it('fails, free of charge, when no dispatch of the budget yields a good PoE', async () => {
    await stop(honest);
    const liars = await Promise.all(
      [1, 2, 3, 4].map((tier) =>
        start(
          `liar-${tier}`,
          tier,
          tampered(async (honest) => ({ ...honest, poe: '0'.repeat(64) })),
        ),
      ),
    );
    try {
      const before = await balances(network.database);
      const response = await chat();
      assert.equal(response.status, 502);
      const id = response.headers.get('x-request-id') ?? '';
      const view = await network.ended(id);
      assert.deepEqual([view.status, view.error?.code], ['failed', 'poe.hash_mismatch']);
      assert.equal(view.charged_wei, '0');
      assert.deepEqual(await balances(network.database), before);
      // Three dispatches for PoE faults, to three different nodes.
      assert.deepEqual(
        liars.map((liar) => liar.executed()),
        [1, 1, 1, 0],
      );
      await record(await historyOf(network.client, id), 'budget-used-up');
    } finally {
      await Promise.all(liars.map(stop));
    }
  });

  it('rejects a request only when a second node says the same of it', async () => {
    const refusing = instantBackend({
      answer: () => {
        throw new ContextExceededError({ promptTokens: 9, maxTokens: 16, contextTokens: 10 });
      },
    });
    const nodes = await Promise.all(
      [1, 2, 3].map((tier) => start(`node-${tier}`, tier, undefined, refusing)),
    );
    try {
      const response = await chat();
      assert.equal(response.status, 400);
      const view = await network.ended(response.headers.get('x-request-id') ?? '');
      assert.deepEqual([view.status, view.error?.code], ['rejected', 'execute.context_exceeded']);
      assert.equal(view.charged_wei, '0');
      assert.deepEqual(
        nodes.map((node) => node.executed()),
        [1, 1, 0],
      );
    } finally {
      await Promise.all(nodes.map(stop));
    }
  });
});
