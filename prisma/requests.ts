import type { CapacityDetail } from '../protocol/capacity.ts';
import type { ReturnEnvelope } from '../protocol/envelope.ts';
import type { ErrorCode } from '../protocol/errors.ts';
import type { IntakeOutcome } from '../protocol/intake.ts';
import type { FinalState, StepRecord } from '../protocol/lifecycle.ts';
import type { Delivery, RequestParameters } from '../protocol/receive.ts';
import type { Transaction } from './client.ts';
import {
  VERIFICATION_COLUMNS,
  VERIFICATION_JOINS,
  type VerificationRecord,
} from './verifications.ts';

/** A request's PoE as it was accepted, and whose attempt it was. */
export interface StoredProof {
  readonly scheme: string;
  readonly poe: string;
  readonly signature: string;
  readonly node: string;
  readonly dispatch: number;
}

/** Where a request is: the first three on its way, the others at its end. */
export type RequestStatus = 'accepted' | 'running' | 'validated' | FinalState;

/** A request's row. Amounts are decimal wei; the result is sealed. */
export interface RequestRecord {
  readonly id: string;
  readonly accountId: string;
  readonly status: RequestStatus;
  readonly parameters: RequestParameters;
  readonly delivery: Delivery;
  readonly reservedWei: string;
  readonly chargedWei: string;
  /** Of what was charged. */
  readonly refundedWei: string;
  readonly refundCode: ErrorCode | null;
  readonly sealedResult: ReturnEnvelope | null;
  readonly proof: StoredProof | null;
  readonly failureCode: ErrorCode | null;
  /** Of a request that found no node. */
  readonly failureDetail: CapacityDetail | null;
  readonly timeline: readonly StepRecord[] | null;
  readonly acceptedAt: Date;
  readonly deadlineAt: Date;
  readonly finishedAt: Date | null;
}

/** Reads one request; undefined when there is none of that id. */
export async function readRequest(
  database: Pick<Transaction, '$queryRaw'>,
  id: string,
): Promise<RequestRecord | undefined> {
  const [row] = await database.$queryRaw<RequestRecord[]>`
    SELECT id, account_id AS "accountId", status, parameters, delivery,
           reserved_wei::text AS "reservedWei", charged_wei::text AS "chargedWei",
           refunded_wei::text AS "refundedWei", refund_code AS "refundCode",
           sealed_result AS "sealedResult", proof, failure_code AS "failureCode", timeline,
           failure_detail AS "failureDetail",
           accepted_at AS "acceptedAt", deadline_at AS "deadlineAt", finished_at AS "finishedAt"
    FROM request WHERE id = ${id}`;
  return row;
}

/** Which requests of an account to list. */
export interface RequestFilter {
  readonly accountId: string;
  readonly status: RequestStatus | null;
  readonly model: string | null;
  /** Accepted at or after that, and before that. */
  readonly createdAfter: Date | null;
  readonly createdBefore: Date | null;
  /** Only those that came before this request, which is of the same account. */
  readonly after: string | null;
  readonly limit: number;
}

/** A request without what only its own page shows. */
export type RequestSummary = Omit<
  RequestRecord,
  'accountId' | 'sealedResult' | 'timeline' | 'deadlineAt'
>;

/** With what was drawn for it, and what came of that. */
export type ListedRequest = RequestSummary & VerificationRecord;

/** Requests of one account, newest first; equal times are told apart by id. */
export function listRequests(
  database: Pick<Transaction, '$queryRaw'>,
  { accountId, status, model, createdAfter, createdBefore, after, limit }: RequestFilter,
): Promise<ListedRequest[]> {
  return database.$queryRaw<ListedRequest[]>`
    SELECT id, status, parameters, delivery, reserved_wei::text AS "reservedWei",
           charged_wei::text AS "chargedWei", refunded_wei::text AS "refundedWei",
           refund_code AS "refundCode", proof, failure_code AS "failureCode",
           failure_detail AS "failureDetail", accepted_at AS "acceptedAt",
           finished_at AS "finishedAt", ${VERIFICATION_COLUMNS}
    FROM request ${VERIFICATION_JOINS}
    WHERE account_id = ${accountId}
      AND (${status}::text IS NULL OR status = ${status})
      AND (${model}::text IS NULL OR model_id = ${model})
      AND (${createdAfter}::timestamptz IS NULL OR accepted_at >= ${createdAfter}::timestamptz)
      AND (${createdBefore}::timestamptz IS NULL OR accepted_at < ${createdBefore}::timestamptz)
      AND (${after}::text IS NULL OR (accepted_at, id) <
           (SELECT accepted_at, id FROM request WHERE id = ${after}))
    ORDER BY accepted_at DESC, id DESC
    LIMIT ${limit}`;
}

/** Whether the requester can be answered: there is a validated result, or there will be none. */
export function isAnswerable(record: RequestRecord): boolean {
  return record.sealedResult !== null || record.finishedAt !== null;
}

/**
 * What the requester is told of a request that has a result, or ended without one. A result that
 * nobody was given before it lost its vote isn't given any more.
 */
export function outcomeOf(record: RequestRecord): IntakeOutcome {
  const { sealedResult, proof, failureCode, failureDetail } = record;
  if (sealedResult && proof && failureCode === null)
    return {
      type: 'outcome',
      state: 'validated',
      sealedResult,
      node: proof.node,
      dispatch: proof.dispatch,
    };
  return {
    type: 'outcome',
    state: 'failed',
    code: failureCode ?? 'coordinator.internal',
    ...(failureDetail ? { failureDetail } : {}),
  };
}

/** Where the frames of a request's latest attempt arrive; null when there was none yet. */
export async function latestCoordinator(
  database: Pick<Transaction, '$queryRaw'>,
  id: string,
): Promise<string | null> {
  const [row] = await database.$queryRaw<{ coordinator: string }[]>`
    SELECT coordinator FROM dispatch WHERE unit_id = ${id} AND NOT is_check
    ORDER BY dispatch DESC LIMIT 1`;
  return row?.coordinator ?? null;
}

/** How many attempts a request took, without those that only check another. */
export async function countAttempts(
  database: Pick<Transaction, '$queryRaw'>,
  id: string,
): Promise<number> {
  const [row] = await database.$queryRaw<{ attempts: number }[]>`
    SELECT count(*)::int AS attempts FROM dispatch WHERE unit_id = ${id} AND NOT is_check`;
  return row?.attempts ?? 0;
}
