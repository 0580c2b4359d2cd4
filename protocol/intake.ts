import type { CapacityDetail } from './capacity.ts';
import type { ReturnEnvelope } from './envelope.ts';
import type { ErrorCode, ErrorMetadata } from './errors.ts';
import type { RateLimits } from './limits.ts';

/**
 * What the coordinator answers to an intake call: one JSON object per line, in this order:
 * `accepted`, frames if the caller asked for a stream, then one `outcome`, and `ended` if the
 * caller asked for that. Or a single `refused`.
 */
export type IntakeEvent =
  | {
      readonly type: 'accepted';
      readonly requestId: string;
      /** Milliseconds since the epoch. */
      readonly acceptedAtMs: number;
      /** Whether an earlier call with the same intake key made the request. Absent: no. */
      readonly isJoined?: boolean;
      /** Whether its run isn't known to be there yet, so that it might get lost. Absent: no. */
      readonly isPending?: boolean;
      /** Of the key, if it has any and this call made the request. */
      readonly rateLimits?: RateLimits;
    }
  | {
      readonly type: 'frame';
      readonly dispatch: number;
      /** What the node was told instead: the frame is bound to it. */
      readonly attemptNumber: number;
      readonly node: string;
      readonly frame: string;
    }
  | { readonly type: 'ping' }
  | IntakeOutcome
  /** The request has ended: its record says all that there is to say. */
  | { readonly type: 'ended' }
  | {
      readonly type: 'refused';
      readonly code: ErrorCode;
      readonly detail?: string;
      readonly metadata?: ErrorMetadata;
    };

/** The end of a request as its requester sees it. */
export type IntakeOutcome =
  | {
      readonly type: 'outcome';
      readonly state: 'validated';
      readonly sealedResult: ReturnEnvelope;
      readonly node: string;
      readonly dispatch: number;
    }
  | {
      readonly type: 'outcome';
      readonly state: 'failed';
      readonly code: ErrorCode;
      /** If there is more to say. */
      readonly failureDetail?: CapacityDetail;
    };
