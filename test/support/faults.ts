import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { ApplicationFailure, CancelledFailure } from '@temporalio/activity';
import { generateNodeKeys, generateX25519Key, type NodeKeys } from '../../crypto/keys.ts';
import { signProof } from '../../crypto/prove.ts';
import { sealReturn } from '../../crypto/return.ts';
import { openTicket } from '../../crypto/ticket.ts';
import type { Generation } from '../../nodes/backends/backend.ts';
import type { ErrorCode } from '../../protocol/errors.ts';
import type { ExecuteInput, NodeReturn } from '../../protocol/execute.ts';
import { formatRequestId, type RequestId } from '../../protocol/ids.ts';
import { proofOfExecution } from '../../protocol/prove.ts';
import { DEADLINE_SECONDS_DEFAULT, type RequesterKey } from '../../protocol/receive.ts';
import { emptyStreamDigest, resultBytes, type InferenceResult } from '../../protocol/result.ts';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { type Behaviour } from './test-node.ts';

/** One way of a node to be wrong, and the code that it ends with. */
export interface Fault {
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

/** Changes what an honest node would have returned. */
export const tampered =
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

/** Has the node run a backend that works, but counts or ends wrongly. */
const miscounting =
  (change: Partial<Generation>): Behaviour =>
  (honest) => {
    const backend = instantBackend();
    return honest({
      backend: {
        ...backend,
        generate: async (...call) => ({ ...(await backend.generate(...call)), ...change }),
      },
    });
  };

/** Every fault of a return that Validate must notice, and failures that nodes report. */
export const FAULTS: readonly Fault[] = [
  {
    name: 'returns no PoE',
    code: 'poe.missing',
    behaviour: tampered(async ({ poe: _poe, ...rest }) => rest),
  },
  {
    name: 'returns nothing at all',
    code: 'poe.missing',
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
    code: 'poe.replayed',
    behaviour: commits((same) => same, formatRequestId(randomBytes(32))),
  },
  {
    name: "sends what it could have from another node's mouth",
    code: 'poe.foreign_node',
    behaviour: tampered(async (honest, input, keys, returnKey) => {
      const { unitId, dispatch } = await openTicket(input.ticket, keys.encryption.privateKey);
      const { nodeId } = await generateNodeKeys();
      const { requesterKey } = input;
      const context = { unitId, dispatch, nodeId, requesterKey, returnKey };
      const resultBytes = new TextEncoder().encode('{}');
      return { ...honest, sealedResult: await sealReturn({ resultBytes, ...context }) };
    }),
  },
  {
    name: 'runs another engine than it registered',
    code: 'poe.result_invalid',
    behaviour: commits((result) => ({ ...result, engine: 'instant/2' })),
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
    name: 'names a key by what no database takes',
    code: 'poe.malformed',
    behaviour: tampered(async (honest) => {
      const { sealedResult } = honest;
      const recipients = sealedResult.recipients.map((recipient) => ({
        ...recipient,
        header: { ...recipient.header, kid: `${recipient.header.kid}\u0000` },
      }));
      return { ...honest, sealedResult: { ...sealedResult, recipients } };
    }),
  },
  {
    name: 'throws a cancellation that nobody asked for',
    code: 'execute.backend_failed',
    blameless: true,
    behaviour: async () => {
      throw new CancelledFailure('because I say so');
    },
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
    name: 'has a backend that counts more of the prompt than there is',
    code: 'execute.backend_failed',
    blameless: true,
    behaviour: miscounting({ promptTokens: 100_000 }),
  },
  {
    name: 'has a backend that cuts answers short',
    code: 'execute.backend_failed',
    blameless: true,
    behaviour: miscounting({ finishReason: 'length' }),
  },
  {
    name: 'has a backend that says far more than was asked for',
    code: 'execute.backend_failed',
    blameless: true,
    behaviour: miscounting({ text: 'x'.repeat(200_000) }),
  },
  {
    name: 'returns after the deadline by its own times',
    code: 'node.deadline_exceeded',
    behaviour: tampered(async (honest) => ({
      ...honest,
      finishedAtMs: honest.decryptedAtMs + DEADLINE_SECONDS_DEFAULT * 1_000 + 1,
    })),
  },
  {
    name: 'claims that it missed the deadline',
    code: 'node.deadline_exceeded',
    behaviour: async () => {
      throw ApplicationFailure.nonRetryable('late', 'node.deadline_exceeded');
    },
  },
];
