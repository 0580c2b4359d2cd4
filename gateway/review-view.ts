import type { FlagRow, NodeHistory, ReviewRow } from '../prisma/reviews.ts';
import { errorDefinition, isErrorCode } from '../protocol/errors.ts';

/** What the API says of a node that somebody should look at. */
export function describeReview(node: ReviewRow) {
  const { id, removalCode, flags, trust, events } = node;
  const why = node.status === 'removed' ? removalCode : events[0]?.code;
  return {
    id,
    object: 'node.review' as const,
    name: node.name,
    operator: node.operatorId,
    status: node.status,
    why: why ? { code: why, message: messageOf(why) } : null,
    flags,
    trust: trust.map(({ workloadClass, checked, logRatio, clearedAt }) => ({
      workload_class: workloadClass,
      checked,
      log_ratio: logRatio,
      cleared_at: clearedAt && isoTime(clearedAt),
    })),
    events: events.map(flagView),
  };
}

/**
 * All that was written down, latest first.
 *
 * @param limit of each kind; one more that was read shows that there are more.
 */
export function describeHistory({ decisions, flags, votes }: NodeHistory, limit: number) {
  return {
    reviews: decisions.slice(0, limit).map(({ decision, code, reviewer, reason, createdAt }) => ({
      decision,
      why: code && { code, message: messageOf(code) },
      reviewer,
      reason,
      created_at: createdAt.toISOString(),
    })),
    events: flags.slice(0, limit).map(flagView),
    votes: votes.slice(0, limit).map(({ unitId, dispatch, side, outcome, decidedAt }) => ({
      unit: unitId,
      dispatch,
      side,
      outcome,
      decided_at: decidedAt.toISOString(),
    })),
    has_more: [decisions, flags, votes].some((rows) => rows.length > limit),
  };
}

function flagView({ code, unitId, dispatch, createdAt }: FlagRow) {
  return {
    code,
    message: messageOf(code),
    unit: unitId,
    dispatch,
    created_at: isoTime(createdAt),
  };
}

function messageOf(code: string): string {
  return isErrorCode(code) ? errorDefinition(code).message : `Unknown code ${code}.`;
}

/** PostgreSQL's JSON has times with an offset. */
function isoTime(time: string): string {
  return new Date(time).toISOString();
}
