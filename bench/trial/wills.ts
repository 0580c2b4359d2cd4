import { randomBytes } from 'node:crypto';
import { generateNodeKeys, type NodeKeys } from '../../crypto/keys.ts';
import { signProof } from '../../crypto/prove.ts';
import { sealReturn } from '../../crypto/return.ts';
import { openTicket } from '../../crypto/ticket.ts';
import type { Backend } from '../../nodes/backends/backend.ts';
import type { ExecuteInput, NodeReturn } from '../../protocol/execute.ts';
import { proofOfExecution } from '../../protocol/prove.ts';
import type { RequesterKey } from '../../protocol/receive.ts';
import { emptyStreamDigest, resultBytes } from '../../protocol/result.ts';
import { INSTANT_MODEL, instantBackend } from '../instant-backend.ts';

/** What a node of the trial is up to. */
export const WILLS = [
  'honest',
  'honest, of another class',
  'no proof',
  'wrong hash',
  'wrong signature',
  "another node's proof",
  'replays its first proof',
  'oversize',
  'truncates',
  'answers before it runs',
  'wrong once it is trusted',
  'wrong one time in ten',
] as const;
export type Will = (typeof WILLS)[number];

/** Nobody of them may be removed. */
export function isHonest(will: Will): boolean {
  return will === 'honest' || will === 'honest, of another class';
}

const LIE_SHARE = 0.1;
/** By then a new node has all its probation behind it. */
const TRUSTED_UNITS = 60;
const FAR_TOO_LONG = 'x'.repeat(200_000);

/** The backend of a node: honest ones repeat what they are told, liars say their own name. */
export function backendOf(
  will: Will,
  { nodeId }: Pick<NodeKeys, 'nodeId'>,
  slots: number,
): Backend {
  const honest = instantBackend({ slots });
  const saying = (text: string) => instantBackend({ slots, answer: () => [text] });
  if (will === 'honest, of another class') return { ...honest, engine: 'instant/2' };
  if (will === 'answers before it runs') return saying('Yes.');
  if (will === 'truncates')
    return instantBackend({ slots, answer: () => ['this ', 'is ', 'number '] });
  let served = 0;
  const lies = () => {
    if (will === 'wrong once it is trusted') return ++served > TRUSTED_UNITS;
    return will === 'wrong one time in ten' && Math.random() < LIE_SHARE;
  };
  const lying = saying(`I am ${nodeId}`);
  return { ...honest, generate: (...call) => (lies() ? lying : honest).generate(...call) };
}

/** What a node has at hand when it makes its return. */
export interface Means {
  readonly keys: NodeKeys;
  readonly input: ExecuteInput;
  readonly returnKey: RequesterKey;
}

/** What a node makes of its returns, one after the other. */
export function returner(
  will: Will,
): (honest: NodeReturn, means: Means) => Promise<Partial<NodeReturn>> {
  let first: Pick<NodeReturn, 'poe' | 'signature'> | undefined;
  return async (honest, means) => {
    switch (will) {
      case 'no proof': {
        const { poe: _poe, ...rest } = honest;
        return rest;
      }
      case 'wrong hash':
        return { ...honest, poe: randomBytes(32).toString('hex') };
      case 'wrong signature':
        return { ...honest, signature: randomBytes(384).toString('base64url') };
      case "another node's proof":
        return { ...honest, ...(await committed(means, 'this', await generateNodeKeys())) };
      case 'replays its first proof':
        first ??= { poe: honest.poe, signature: honest.signature };
        return { ...honest, ...first };
      case 'oversize':
        return { ...honest, ...(await committed(means, FAR_TOO_LONG, means.keys)) };
      default:
        return honest;
    }
  };
}

/** A return whose proof is right, for a text of one's own, by a node of that key. */
async function committed(
  { keys, input, returnKey }: Means,
  text: string,
  { nodeId, signing }: NodeKeys,
): Promise<Pick<NodeReturn, 'poe' | 'signature' | 'sealedResult'>> {
  const { unitId, dispatch, seed } = await openTicket(input.ticket, keys.encryption.privateKey);
  const bytes = resultBytes({
    v: 1,
    modelDigest: INSTANT_MODEL.digest,
    engine: 'instant/1',
    seed,
    choices: [{ text, tokenIds: [0], finishReason: 'stop' }],
    usage: { promptTokens: 1, completionTokens: 1 },
    streamDigest: emptyStreamDigest,
  });
  const poe = proofOfExecution(unitId, bytes, nodeId);
  const signature = await signProof(signing.privateKey, bytes, poe);
  const { requesterKey } = input;
  const sealedResult = await sealReturn({
    resultBytes: bytes,
    unitId,
    dispatch,
    nodeId,
    requesterKey,
    returnKey,
  });
  return { poe, signature, sealedResult };
}
