import { randomBytes } from 'node:crypto';
import type { NodeKeys } from '../../crypto/keys.ts';
import type { Backend } from '../../nodes/backends/backend.ts';
import type { NodeReturn } from '../../protocol/execute.ts';
import { instantBackend } from '../instant-backend.ts';

/** What a node of the trial is up to. */
export type Will = 'honest' | 'wrong hash' | 'wrong once it is trusted' | 'wrong one time in ten';

export const WILLS: readonly Will[] = [
  'honest',
  'wrong hash',
  'wrong once it is trusted',
  'wrong one time in ten',
];

const LIE_SHARE = 0.1;
/** By then a new node has all its probation behind it. */
const TRUSTED_UNITS = 60;

/** The backend of a node: honest ones repeat what they are told, liars say their own name. */
export function backendOf(
  will: Will,
  { nodeId }: Pick<NodeKeys, 'nodeId'>,
  slots: number,
): Backend {
  const honest = instantBackend({ slots });
  if (will === 'honest' || will === 'wrong hash') return honest;
  const lying = instantBackend({ slots, answer: () => [`I am ${nodeId}`] });
  let served = 0;
  const lies = () =>
    will === 'wrong once it is trusted' ? ++served > TRUSTED_UNITS : Math.random() < LIE_SHARE;
  return { ...honest, generate: (...call) => (lies() ? lying : honest).generate(...call) };
}

/** What a node makes of its return. */
export function returned(will: Will, honest: NodeReturn): NodeReturn {
  return will === 'wrong hash' ? { ...honest, poe: randomBytes(32).toString('hex') } : honest;
}
