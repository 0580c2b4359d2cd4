import { randomBytes } from 'node:crypto';
import { drawOf, policyHash, secretHash } from '../../crypto/sampling.ts';
import type { Database } from '../../prisma/client.ts';
import { canonicalText } from '../../protocol/canonical.ts';
import { formatRequestId, type RequestId } from '../../protocol/ids.ts';
import { drawPpm, ratePpm, type SamplingPolicy } from '../../protocol/sampling.ts';
import type { VerificationOutcome } from '../../protocol/vote.ts';
import { ACCOUNT, PARAMETERS } from './seeded.ts';

export const EPOCH_MS = 600_000;
export const POLICY: SamplingPolicy = {
  v: 1,
  ratesPpm: { 'ai.inference': 500_000 },
  floorPpm: 20_000,
  probationUnits: 20,
};

/** The secret of an epoch in tests: its number, 32 bytes long. */
export function testSecret(epoch: number): string {
  return epoch.toString(16).padStart(64, '0');
}

/** Publishes epochs 1 to `count`, the last one not begun yet, and reveals those that are due. */
export async function publishEpochs(database: Database, count: number): Promise<void> {
  const policy = canonicalText(POLICY);
  const firstMs = Date.now() - (count - 1.5) * EPOCH_MS;
  for (let epoch = 1; epoch <= count; epoch++) {
    const beginsAtMs = firstMs + (epoch - 1) * EPOCH_MS;
    await database.samplingEpoch.create({
      data: {
        epoch,
        beginsAt: new Date(beginsAtMs),
        secretHash: secretHash(testSecret(epoch)),
        policy,
        policyHash: policyHash(policy),
        publishedAt: new Date(epoch === 1 ? beginsAtMs : beginsAtMs - EPOCH_MS),
      },
    });
    // Once two later ones have begun; the last one hasn't.
    if (epoch <= count - 3) {
      const revealedAt = new Date(beginsAtMs + 2 * EPOCH_MS);
      await database.$executeRaw`UPDATE sampling_epoch
        SET secret = ${testSecret(epoch)}, revealed_at = ${revealedAt} WHERE epoch = ${epoch}`;
    }
  }
}

/** What a request that is put into the tables is like. */
export interface StoredRequest {
  readonly accountId?: string;
  readonly status?: string;
  readonly failureCode?: string;
  readonly delivery?: string;
  readonly chargedWei?: number;
  readonly refundedWei?: number;
  readonly refundCode?: string;
  readonly finishedAt?: Date | null;
}

/** A request that exists only as a row; completed by default. */
export async function storeRequest(
  database: Database,
  changed: StoredRequest = {},
): Promise<RequestId> {
  const id = formatRequestId(randomBytes(32));
  await database.request.create({
    data: {
      id,
      intakeKey: id,
      accountId: ACCOUNT,
      status: 'completed',
      workloadClass: 'ai.inference',
      modelId: 'instant',
      parameters: { ...PARAMETERS },
      requesterKey: {},
      reservedWei: 100,
      deadlineAt: new Date(Date.now() + 30_000),
      finishedAt: new Date(),
      timeline: [],
      ...changed,
    },
  });
  return id;
}

/** The PoE of a request's first attempt, with the draw that follows from it in an epoch. */
export async function storeDraw(
  database: Database,
  unitId: RequestId,
  epoch: number,
  changed: { ratePpm?: number; draw?: string; isSampled?: boolean; storedAt?: Date } = {},
): Promise<{ readonly isSampled: boolean }> {
  const poe = randomBytes(32).toString('hex');
  const draw = drawOf(testSecret(epoch), unitId, poe);
  const rate = changed.ratePpm ?? ratePpm(POLICY, 'ai.inference', POLICY.probationUnits);
  const { beginsAt } = await database.samplingEpoch.findUniqueOrThrow({ where: { epoch } });
  const row = await database.proof.create({
    data: {
      unitId,
      dispatch: 1,
      nodeId: `nd_${'a'.repeat(64)}`,
      poe,
      epoch,
      ratePpm: rate,
      draw,
      isSampled: drawPpm(draw) < rate,
      storedAt: new Date(beginsAt.getTime() + 1_000),
      ...changed,
    },
  });
  return { isSampled: row.isSampled };
}

/** How the check of a request ended, with the votes by their sides, from dispatch 1 on. */
export async function storeVerification(
  database: Database,
  unitId: RequestId,
  outcome: VerificationOutcome,
  sides: readonly string[] = [],
): Promise<void> {
  await database.verification.create({
    data: { unitId, outcome, winner: outcome === 'no_majority' ? null : 1, comparator: 'llm/1' },
  });
  for (const [index, side] of sides.entries())
    await database.vote.create({
      data: { unitId, dispatch: index + 1, nodeId: `nd_${String(index).repeat(64)}`, side },
    });
}
