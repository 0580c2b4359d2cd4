import type { RequestRecord } from '../prisma/requests.ts';
import type { VerificationRecord } from '../prisma/verifications.ts';
import { PPM } from '../protocol/sampling.ts';
import type { VerificationOutcome } from '../protocol/vote.ts';

type VerifiedRequest = Pick<RequestRecord, 'status' | 'finishedAt'>;

/** How far the check of a request is; null when nothing was drawn, or the check was given up. */
export type VerificationState = 'not_sampled' | 'pending' | VerificationOutcome;

/** What the API says of the random check of a request. */
export function verificationView(request: VerifiedRequest, record: VerificationRecord) {
  const { isSampled, ratePpm, epoch, votes } = record;
  const outcome = stateOf(request, record);
  return {
    sampled: isSampled,
    outcome,
    rate: ratePpm === null ? null : ratePpm / PPM,
    epoch,
    votes,
    message: messageOf(request, record, outcome),
  };
}

function stateOf(
  { finishedAt }: VerifiedRequest,
  { isSampled, outcome }: VerificationRecord,
): VerificationState | null {
  if (outcome !== null) return outcome;
  if (isSampled === null) return null;
  if (!isSampled) return 'not_sampled';
  return finishedAt === null ? 'pending' : null;
}

function messageOf(
  request: VerifiedRequest,
  record: VerificationRecord,
  state: VerificationState | null,
): string {
  if (state === null) return withoutState(request, record);
  const { ratePpm, votes } = record;
  const agreeing = votes.filter(({ side }) => side === 'majority').length;
  const count = `${agreeing} of ${votes.length} nodes`;
  const messages: Record<VerificationState, string> = {
    not_sampled: `Not drawn: ${percent(ratePpm)} of such work is checked by others, at random.`,
    pending: 'Drawn to be randomly checked: others are computing it again.',
    agreed: `Randomly checked: ${count} have this result.`,
    overruled:
      request.status === 'invalidated'
        ? `Randomly checked: ${count} have another result than the one that was delivered.`
        : `Randomly checked: the first result lost; ${count} have this one, which took its place.`,
    no_majority: 'Randomly checked: no two nodes have the same result, so none can be relied on.',
    hash_only:
      'Drawn to be randomly checked, but nobody independent could be asked: ' +
      'only the commitment was checked.',
  };
  return messages[state];
}

function withoutState({ finishedAt }: VerifiedRequest, { isSampled }: VerificationRecord): string {
  if (isSampled) return 'Drawn to be randomly checked, but it ended before the check did.';
  return finishedAt === null
    ? 'Nothing was drawn yet: its proof comes first.'
    : 'Nothing was drawn: there is no proof to draw with.';
}

function percent(ratePpm: number | null): string {
  return `${((ratePpm ?? 0) * 100) / PPM} %`;
}
