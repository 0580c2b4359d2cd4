import { randomBytes, randomInt } from 'node:crypto';
import { EnvelopeError } from '../crypto/errors.ts';
import type { Ring, WrapKey, X25519Key } from '../crypto/keys.ts';
import { assertBound, rewrapRequest } from '../crypto/request.ts';
import { announceCancellation } from '../prisma/cancellations.ts';
import { inTransaction, isUniqueViolation, type Database } from '../prisma/client.ts';
import { settleReservation } from '../prisma/ledger.ts';
import { announceOutcome } from '../prisma/outcomes.ts';
import type { RequestStatus } from '../prisma/requests.ts';
import type { WrappedRequest } from '../protocol/envelope.ts';
import { CodedError, type ErrorCode } from '../protocol/errors.ts';
import { formatRequestId, type RequestId } from '../protocol/ids.ts';
import {
  complexityTokens,
  outputTokensMax,
  promptTokensMax,
  SEED_END,
  type AcceptedInference,
  type Delivery,
  type IntakeCall,
} from '../protocol/receive.ts';
import { priceWei } from '../protocol/settle.ts';
import { recordFailure } from './events.ts';
import { LOST_LEASE_SECONDS } from './report-failure.ts';
import { isWorkloadClass } from '../protocol/workload.ts';

/** How a request ends that has no workflow to end it. */
interface EndWithoutRun {
  readonly status: 'failed' | 'cancelled';
  readonly code: ErrorCode;
  /** It ends only if it is still in one of these. */
  readonly from: readonly RequestStatus[];
}

const NOT_STARTED: EndWithoutRun = {
  status: 'failed',
  code: 'receive.not_started',
  from: ['accepted'],
};

/** What opens a sealed request, and what keeps it from then on. */
export interface ReceiveKeys {
  readonly intakeRing: Ring<X25519Key>;
  readonly wrapRing: Ring<WrapKey>;
}

interface ModelRow {
  digest: string;
  prompt_price_wei: string;
  completion_price_wei: string;
}

interface RequestRow {
  id: RequestId;
  reserved_wei: string;
  accepted_at: Date;
  deadline_at: Date;
  is_joined: boolean;
}

/** A request that has its id and its reservation. */
export interface Received {
  readonly accepted: AcceptedInference;
  /** Whether an earlier call with the same intake key made it: it may have ended long ago. */
  readonly isJoined: boolean;
}

/**
 * Step 1 for one inference request: checks it, sets the highest possible price aside, and only then
 * allocates the id (spec step 01). Repeated with the same intake key it returns the same request.
 *
 * @throws CodedError with a `receive.` code; nothing is allocated, reserved or stored then.
 */
export async function receive(
  database: Database,
  keys: ReceiveKeys,
  call: IntakeCall,
): Promise<Received> {
  const startedAt = performance.now();
  const { parameters, accountId } = call;
  const workloadClass: string = parameters.workloadClass;
  if (!isWorkloadClass(workloadClass))
    throw new CodedError('receive.unknown_workload_class', `Asked for: ${workloadClass}.`);
  const model = await findModel(database, parameters.model);
  const envelope = opened(call, keys);
  const payloadBytes = Buffer.byteLength(envelope.ciphertext, 'base64url');
  const price = { promptWei: model.prompt_price_wei, completionWei: model.completion_price_wei };
  const reservedWei = priceWei(
    { promptTokens: promptTokensMax(payloadBytes), completionTokens: parameters.maxTokens },
    { promptWei: BigInt(price.promptWei), completionWei: BigInt(price.completionWei) },
  );
  const row = await joinOrAccept(database, call, reservedWei);
  const accepted: AcceptedInference = {
    requestId: row.id,
    accountId,
    parameters,
    delivery: deliveryOf(call),
    requesterKey: call.requesterKey,
    envelope,
    payloadBytes,
    modelDigest: model.digest,
    seed: parameters.seed ?? randomInt(SEED_END),
    complexity: complexityTokens(payloadBytes, outputTokensMax(parameters), parameters.choices),
    price,
    reservedWei: row.reserved_wei,
    acceptedAtMs: row.accepted_at.getTime(),
    deadlineAtMs: row.deadline_at.getTime(),
    receiveElapsedMs: performance.now() - startedAt,
  };
  return { accepted, isJoined: row.is_joined };
}

function deliveryOf({ delivery }: IntakeCall): Delivery {
  return delivery ?? 'validated';
}

/** The payload's content key, rewrapped; the payload itself stays sealed. */
function opened(call: IntakeCall, { intakeRing, wrapRing }: ReceiveKeys): WrappedRequest {
  try {
    assertBound(call.envelope, call.parameters, call.requesterKey);
    return rewrapRequest(call.envelope, intakeRing, wrapRing);
  } catch (error) {
    if (!(error instanceof EnvelopeError)) throw error;
    throw new CodedError('receive.envelope_invalid', error.message, { cause: error });
  }
}

async function findModel(database: Database, name: string): Promise<ModelRow> {
  const [model] = await database.$queryRaw<ModelRow[]>`
    SELECT digest, prompt_price_wei::text, completion_price_wei::text
    FROM model WHERE id = ${name}`;
  if (!model) throw new CodedError('receive.unknown_model', `Asked for: ${name.slice(0, 100)}.`);
  return model;
}

/**
 * One statement: joins the request that an earlier call with this key made, or else reserves and
 * stores a new one. Of two calls at once the second fails on the key, and then joins.
 *
 * @throws CodedError `receive.insufficient_credit`
 */
async function joinOrAccept(
  database: Database,
  call: IntakeCall,
  reservedWei: bigint,
): Promise<RequestRow> {
  const { parameters, accountId, intakeKey } = call;
  // The id is the reservation's key, so it is drawn first; without credit it is never stored.
  const id = formatRequestId(randomBytes(32));
  const wei = reservedWei.toString();
  const store = () => database.$queryRaw<RequestRow[]>`
    WITH joined AS (
      SELECT id, reserved_wei, accepted_at, deadline_at FROM request
      WHERE intake_key = ${intakeKey}),
    accepted AS (
      INSERT INTO request (id, intake_key, account_id, status, workload_class, model_id,
                           parameters, delivery, requester_key, reserved_wei, deadline_at)
      SELECT ${id}, ${intakeKey}, ${accountId}, 'accepted', ${parameters.workloadClass},
             ${parameters.model}, ${JSON.stringify(parameters)}::jsonb,
             ${deliveryOf(call)}, ${JSON.stringify(call.requesterKey)}::jsonb, ${wei}::numeric,
             now() + make_interval(secs => ${parameters.deadlineSeconds}::float8)
      WHERE CASE WHEN EXISTS (SELECT FROM joined) THEN FALSE
                 ELSE ledger_reserve(${id}, ${accountId}, ${wei}::numeric) END
      RETURNING id, reserved_wei, accepted_at, deadline_at)
    SELECT id, reserved_wei::text, accepted_at, deadline_at, TRUE AS is_joined FROM joined
    UNION ALL
    SELECT id, reserved_wei::text, accepted_at, deadline_at, FALSE FROM accepted`;
  let [row] = await store().catch((error: unknown) => {
    if (!isUniqueViolation(error)) throw error;
    return store();
  });
  // Without a row the money was short, perhaps because a call with the same key, which this
  // statement couldn't see yet, has reserved it: the next one sees.
  row ??= (await store())[0];
  if (row) return row;
  throw new CodedError('receive.insufficient_credit', `Needed: ${wei} wei.`);
}

/**
 * Ends a request that has no workflow to end it, so that nothing stays reserved; by default because
 * its workflow never started.
 *
 * @returns false when it has started or ended meanwhile.
 */
export async function abandon(
  database: Database,
  requestId: RequestId,
  { status, code, from }: EndWithoutRun = NOT_STARTED,
): Promise<boolean> {
  return inTransaction(database, async (transaction) => {
    const [row] = await transaction.$queryRaw<{ account_id: string; reserved_wei: string }[]>`
      UPDATE request SET status = ${status}, failure_code = ${code}, finished_at = now()
      WHERE id = ${requestId} AND status = ANY (${[...from]}::text[])
      RETURNING account_id, reserved_wei::text`;
    if (!row) return false;
    await settleReservation(transaction, requestId, row.account_id, 0n, BigInt(row.reserved_wei));
    await recordFailure(transaction, { unitId: requestId, dispatch: 0, code });
    await transaction.$queryRaw`
      SELECT withdraw_unit(${requestId}, ${LOST_LEASE_SECONDS}::float8)::text`;
    await announceCancellation(transaction, requestId);
    await announceOutcome(transaction, requestId);
    return true;
  });
}
