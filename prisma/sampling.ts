import type { VerificationOutcome } from '../protocol/vote.ts';
import type { Transaction } from './client.ts';
import type { RequestStatus } from './requests.ts';

type Reader = Pick<Transaction, '$queryRaw'>;

/** What one epoch's draws were committed to with. */
export interface EpochRow {
  readonly epoch: number;
  readonly beginsAt: Date;
  readonly secretHash: string;
  readonly policy: string;
  readonly policyHash: string;
  readonly publishedAt: Date;
  /** Null until it is revealed. */
  readonly secret: string | null;
  readonly revealedAt: Date | null;
}

/** Epochs, latest first. @param before only those with a lower number; null from the latest on. */
export function listEpochs(
  database: Reader,
  before: number | null,
  limit: number,
): Promise<EpochRow[]> {
  return database.$queryRaw<EpochRow[]>`
    SELECT epoch, begins_at AS "beginsAt", secret_hash AS "secretHash", policy,
           policy_hash AS "policyHash", published_at AS "publishedAt", secret,
           revealed_at AS "revealedAt"
    FROM sampling_epoch WHERE ${before}::int IS NULL OR epoch < ${before}::int
    ORDER BY epoch DESC LIMIT ${limit}`;
}

/** One epoch. @returns undefined when none of that number was published. */
export async function readEpoch(database: Reader, epoch: number): Promise<EpochRow | undefined> {
  const [row] = await listEpochs(database, epoch + 1, 1);
  return row?.epoch === epoch ? row : undefined;
}

/** What was drawn for one return. */
export interface DrawRow {
  readonly unitId: string;
  readonly dispatch: number;
  readonly poe: string;
  readonly ratePpm: number;
  readonly draw: string;
  readonly isSampled: boolean;
  readonly storedAt: Date;
  readonly workloadClass: string;
  readonly outcome: VerificationOutcome | null;
  /** Where its request is. */
  readonly status: RequestStatus;
}

/** Which draws of an epoch to list. */
export interface DrawFilter {
  readonly epoch: number;
  /** Those of this account's requests; null for all. */
  readonly accountId: string | null;
  /** Only those behind this one. */
  readonly after: { readonly unitId: string; readonly dispatch: number } | null;
  readonly limit: number;
}

/** Draws of one epoch, by unit and dispatch. */
export function listDraws(
  database: Reader,
  { epoch, accountId, after, limit }: DrawFilter,
): Promise<DrawRow[]> {
  return database.$queryRaw<DrawRow[]>`
    SELECT proof.unit_id AS "unitId", dispatch, poe, rate_ppm AS "ratePpm", draw,
           is_sampled AS "isSampled", stored_at AS "storedAt",
           workload_class AS "workloadClass", outcome, status
    FROM proof JOIN request ON request.id = proof.unit_id
      LEFT JOIN verification ON verification.unit_id = proof.unit_id
    WHERE epoch = ${epoch}::int
      AND (${accountId}::text IS NULL OR account_id = ${accountId})
      AND (${after?.unitId ?? null}::text IS NULL
           OR (proof.unit_id, dispatch) > (${after?.unitId ?? null}, ${after?.dispatch ?? 0}::int))
    ORDER BY proof.unit_id, dispatch LIMIT ${limit}`;
}
