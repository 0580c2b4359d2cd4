import type { NodeId } from '../protocol/ids.ts';
import type { Side, VerificationOutcome } from '../protocol/vote.ts';
import type { Transaction } from './client.ts';
import { Prisma } from './generated/client.ts';

/** Who computed a unit, and on which side of the vote that was. */
export interface VoteRow {
  readonly dispatch: number;
  readonly node: NodeId;
  readonly side: Side;
}

/** What was drawn for a unit, and what its check came to. */
export interface VerificationRecord {
  /** Null as long as no result has passed check 1. */
  readonly isSampled: boolean | null;
  /** Parts per million. */
  readonly ratePpm: number | null;
  readonly epoch: number | null;
  readonly outcome: VerificationOutcome | null;
  readonly votes: readonly VoteRow[];
}

/** The columns of a `VerificationRecord`, of the tables that `VERIFICATION_JOINS` joins. */
export const VERIFICATION_COLUMNS = Prisma.sql`
  drawn.is_sampled AS "isSampled", drawn.rate_ppm AS "ratePpm", drawn.epoch,
  verification.outcome, coalesce(ballot.votes, '[]') AS votes`;

/** Joined to `request`. A unit of the inference path has its request's id. */
export const VERIFICATION_JOINS = Prisma.sql`
  LEFT JOIN LATERAL (
    SELECT is_sampled, rate_ppm, epoch FROM proof
    WHERE proof.unit_id = request.id AND epoch IS NOT NULL
    ORDER BY dispatch DESC LIMIT 1) AS drawn ON TRUE
  LEFT JOIN verification ON verification.unit_id = request.id
  LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object('dispatch', dispatch, 'node', node_id, 'side', side)
                    ORDER BY dispatch) AS votes
    FROM vote WHERE vote.unit_id = request.id) AS ballot ON TRUE`;

const NOTHING: VerificationRecord = {
  isSampled: null,
  ratePpm: null,
  epoch: null,
  outcome: null,
  votes: [],
};

/** What was drawn for one request, and what came of it. */
export async function readVerification(
  database: Pick<Transaction, '$queryRaw'>,
  requestId: string,
): Promise<VerificationRecord> {
  const [row] = await database.$queryRaw<VerificationRecord[]>`
    SELECT ${VERIFICATION_COLUMNS} FROM request ${VERIFICATION_JOINS}
    WHERE request.id = ${requestId}`;
  return row ?? NOTHING;
}
