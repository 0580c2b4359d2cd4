import { isErrorCode, type ErrorCode } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Credentials } from './certificates.ts';
import type { Stranger } from './stranger.ts';

/** The one address that a node knows. */
export interface EdgeAddress {
  readonly host: string;
  readonly port: number;
  /** PEM, one certificate or more. */
  readonly ca: string;
  /** The attackers' own addresses, which they take in turn; by default the one that they have. */
  readonly from?: Iterator<string>;
}

/** All that an attacker was told. */
export interface Told {
  /**
   * A gRPC status, such as `PERMISSION_DENIED`; `HTTP 403`; `closed` when the connection ended
   * without an answer; `silent` when nothing came for as long as the attack waited.
   */
  readonly status: string;
  /** The stable code that it was told, if any. */
  readonly code: ErrorCode | null;
  /** Every byte above the transport: headers, trailers, bodies. */
  readonly bytes: Buffer;
}

/**
 * How an attack may end: with a code; `closed`; `over` for a task that isn't any more (NOT_FOUND);
 * `accepted` where the answer is a plain yes and the harm is what is prevented: `harmless` says so.
 */
export type Expected = ErrorCode | 'closed' | 'over' | 'accepted';

export type Group =
  'queues' | 'task tokens' | 'methods' | 'certificates' | 'transport' | 'side channels' | 'claims';

export interface Attack {
  readonly name: string;
  readonly group: Group;
  /** Any of these is a failure of the attack; anything else is a hole. */
  readonly expects: readonly Expected[];
  /** Whether it takes as long as the edge has patience; not unless it says so. */
  readonly isSlow?: true;
  /** Whether HTTP/2 itself repels it, before the edge hears of it; not unless it says so. */
  readonly isUncounted?: true;
  /** @returns null when it can't be tried here, such as with a key that a stranger can't have. */
  run(scene: Scene): Promise<Told | null>;
}

/** What a task gave away to the node that it was for. */
export interface Work {
  readonly owner: Stranger;
  /** As sealed by the edge. */
  readonly taskToken: Uint8Array;
  readonly unitId: string;
  /** The number that the node was told. */
  readonly attempt: number;
  readonly channelToken: string;
}

/** Where attacks happen, and what the attackers hold: whatever any stranger can get. */
export interface Scene {
  readonly edge: EdgeAddress;
  /** Registered and alive, so that it may be given work. */
  readonly stranger: Stranger;
  /** Enrolled and registered too, in league with it. */
  readonly accomplice: Stranger;
  /** A node of somebody else, of which the attackers know the public id. */
  readonly victim: NodeId;
  /** Certificates of the network that are no good any more; only the network can make these. */
  readonly lapsed: { readonly expired?: Credentials; readonly removed?: Credentials };
  /** A task that was given and isn't answered; null when there is none to be had. */
  work(): Promise<Work | null>;
  /** The same; it is to be used up, and from now on `work` is another. */
  spend(): Promise<Work | null>;
}

/** What an attack ended with, in one word for `Attack.expects`. */
export function outcomeOf({ status, code }: Told): string {
  if (code !== null) return code;
  if (status === 'NOT_FOUND') return 'over';
  return status === 'OK' || status.startsWith('HTTP 2') ? 'accepted' : status;
}

/** Whether an attack failed as it has to. */
export function isRepelled(attack: Pick<Attack, 'expects'>, told: Told): boolean {
  return (attack.expects as readonly string[]).includes(outcomeOf(told));
}

/** The code in a text, if it is one of the table. */
export function codeIn(text: string | undefined): ErrorCode | null {
  return text !== undefined && isErrorCode(text) ? text : null;
}

/** An answer that never came. */
export function nothing(status: 'closed' | 'silent', bytes: Buffer = Buffer.alloc(0)): Told {
  return { status, code: null, bytes };
}

/**
 * One attack after another.
 *
 * @returns the first that wasn't repelled; when all were, the last, with what each was told.
 */
export async function each<Variant>(
  attack: Pick<Attack, 'expects'>,
  variants: readonly Variant[],
  run: (variant: Variant) => Promise<Told>,
): Promise<Told> {
  const heard: Buffer[] = [];
  let last = nothing('silent');
  for (const variant of variants) {
    last = await run(variant);
    heard.push(last.bytes);
    if (!isRepelled(attack, last)) break;
  }
  return { ...last, bytes: Buffer.concat(heard) };
}
