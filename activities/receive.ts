import { randomBytes, randomInt } from 'node:crypto';
import { EnvelopeError } from '../crypto/errors.ts';
import type { Ring, WrapKey, X25519Key } from '../crypto/keys.ts';
import { assertBound, rewrapRequest } from '../crypto/request.ts';
import { announceCancellation } from '../prisma/cancellations.ts';
import { inTransaction, isUniqueViolation, sql, type Database } from '../prisma/client.ts';
import { announceOutcome } from '../prisma/outcomes.ts';
import type { RequestStatus } from '../prisma/requests.ts';
import type { WrappedRequest } from '../protocol/envelope.ts';
import { CodedError, type ErrorCode } from '../protocol/errors.ts';
import { formatRequestId, type RequestId } from '../protocol/ids.ts';
import {
  rateLimitsOf,
  refusalOf,
  type Admission,
  type Demand,
  type RateLimits,
} from '../protocol/limits.ts';
import {
  complexityTokens,
  promptTokensMax,
  SEED_END,
  type AcceptedInference,
  type Delivery,
  type IntakeCall,
  type RequestParameters,
  type RequesterKey,
} from '../protocol/receive.ts';
import { priceWei, type TokenPrice } from '../protocol/settle.ts';
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
  price: PriceOfVersion | null;
}

/** Per token, in decimal wei. */
interface PriceOfVersion {
  readonly version: number;
  readonly promptWei: string;
  readonly completionWei: string;
}

/** Of a row of `price`. */
const PRICE = sql`json_build_object('version', version, 'promptWei', prompt_price_wei::text,
  'completionWei', completion_price_wei::text)`;

function tokenPrice({ promptWei, completionWei }: PriceOfVersion): TokenPrice {
  return { promptWei: BigInt(promptWei), completionWei: BigInt(completionWei) };
}

interface RequestRow {
  id: RequestId;
  account_id: string;
  body_digest: string | null;
  /** Null of a request that an earlier version of the product has accepted. */
  price: PriceOfVersion | null;
  reserved_wei: string;
  accepted_at: Date;
  deadline_at: Date;
  parameters: RequestParameters;
  delivery: Delivery;
  requester_key: RequesterKey;
  /** Whether the call's envelope is bound to what the request was accepted with. */
  is_bound: boolean;
}

/** A request, and what came of asking for its admission: null when it was joined. */
type StoredRow =
  | (RequestRow & { readonly admission: null })
  | (RequestRow & { readonly admission: Extract<Admission, { readonly refused?: null }> })
  | { readonly id: null; readonly admission: Exclude<Admission, { readonly refused?: null }> };

/** A request that has its id and its reservation. */
export interface Received {
  readonly accepted: AcceptedInference;
  /** Whether an earlier call with the same intake key made it: it may have ended long ago. */
  readonly isJoined: boolean;
  /**
   * Whether its run may be started from this call. One that joins may ask to be answered in another
   * way, and its envelope is bound to that: the run is for the call to start that made the request.
   */
  readonly mayStart: boolean;
  /** How the key stands that it is metered by; absent without limits, and when it was joined. */
  readonly rateLimits?: RateLimits;
}

/**
 * Step 1 for one inference request: checks it, sets the highest possible price aside, counts it
 * against its key, and only then allocates the id (spec step 01). Repeated with the same intake key
 * it returns the same request, as it was accepted: its price, parameters, delivery, requester key.
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
  const model = await findModel(database, parameters);
  const envelope = opened(call, keys);
  const payloadBytes = Buffer.byteLength(envelope.ciphertext, 'base64url');
  const completionTokens = parameters.maxTokens * (parameters.choices ?? 1);
  const usage = { promptTokens: promptTokensMax(payloadBytes), completionTokens };
  const row = await joinOrAccept(database, call, model.price, {
    amountWei: priceWei(usage, tokenPrice(model.price)),
    tokens: usage.promptTokens + completionTokens,
  });
  const { promptWei, completionWei } = row.price ?? model.price;
  const accepted: AcceptedInference = {
    requestId: row.id,
    accountId,
    // The database has its own order of members, by which a node could tell requests apart.
    parameters: row.is_bound ? parameters : row.parameters,
    delivery: row.delivery,
    requesterKey: row.is_bound ? call.requesterKey : row.requester_key,
    envelope,
    payloadBytes,
    modelDigest: model.digest,
    seed: parameters.seed ?? randomInt(SEED_END),
    complexity: complexityTokens(payloadBytes, completionTokens, parameters.choices),
    price: { promptWei, completionWei },
    reservedWei: row.reserved_wei,
    acceptedAtMs: row.accepted_at.getTime(),
    deadlineAtMs: row.deadline_at.getTime(),
    receiveElapsedMs: performance.now() - startedAt,
  };
  const rateLimits = row.admission ? rateLimitsOf(row.admission) : undefined;
  const isJoined = row.admission === null;
  return { accepted, isJoined, mayStart: row.is_bound, ...(rateLimits ? { rateLimits } : {}) };
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

/** The model, and what it costs now: the newest version of its prices that is in force. */
async function findModel(
  database: Database,
  { model: name, hardwareTier, priority }: RequestParameters,
): Promise<ModelRow & { price: PriceOfVersion }> {
  const [model] = await database.$queryRaw<ModelRow[]>`
    SELECT digest, (
      SELECT ${PRICE} FROM price
      WHERE model_id = model.id AND hardware_tier = ${hardwareTier} AND priority = ${priority}
        AND begins_at <= now()
      ORDER BY version DESC LIMIT 1) AS price
    FROM model WHERE id = ${name}`;
  if (!model) throw new CodedError('receive.unknown_model', `Asked for: ${name.slice(0, 100)}.`);
  const { digest, price } = model;
  if (!price)
    throw new CodedError('receive.no_price', `Asked for: tier ${hardwareTier}, ${priority}.`);
  return { digest, price };
}

/**
 * One statement: joins the request that an earlier call with this key made, or else reserves and
 * stores a new one. Of two calls at once the second fails on the key, and then joins.
 *
 * @throws CodedError `receive.idempotency_mismatch`, or why nothing was admitted: see `refusalOf`.
 */
async function joinOrAccept(
  database: Database,
  call: IntakeCall,
  { version }: PriceOfVersion,
  demand: Demand,
): Promise<Exclude<StoredRow, { readonly id: null }>> {
  const { parameters, accountId, intakeKey, keyId = null, bodyDigest = null } = call;
  // The id is the reservation's key, so it is drawn first; without credit it is never stored.
  const id = formatRequestId(randomBytes(32));
  const wei = demand.amountWei.toString();
  const bound = [parameters, call.requesterKey].map((each) => JSON.stringify(each));
  const store = () => database.$queryRaw<StoredRow[]>`
    WITH joined AS (
      SELECT id, account_id, body_digest, reserved_wei, accepted_at, deadline_at, parameters,
        delivery, requester_key, (
        SELECT ${PRICE} FROM price
        WHERE price.model_id = request.model_id AND version = price_version
          AND hardware_tier = (parameters ->> 'hardwareTier')::int
          AND priority = parameters ->> 'priority') AS price
      FROM request WHERE intake_key = ${intakeKey}),
    admission AS MATERIALIZED (
      SELECT request_admit(${id}, ${accountId}, ${keyId}::text, ${wei}::numeric,
                           ${demand.tokens}::bigint) AS admission
      WHERE NOT EXISTS (SELECT FROM joined)),
    accepted AS (
      INSERT INTO request (id, intake_key, account_id, status, workload_class, model_id,
                           parameters, delivery, requester_key, reserved_wei, deadline_at,
                           key_id, body_digest, price_version)
      SELECT ${id}, ${intakeKey}, ${accountId}, 'accepted', ${parameters.workloadClass},
             ${parameters.model}, ${bound[0]}::jsonb,
             ${deliveryOf(call)}, ${bound[1]}::jsonb, ${wei}::numeric,
             now() + make_interval(secs => ${parameters.deadlineSeconds}::float8),
             ${keyId}, ${bodyDigest}, ${version}::int
      FROM admission WHERE admission ->> 'refused' IS NULL
      RETURNING id, account_id, body_digest, reserved_wei, accepted_at, deadline_at, parameters,
                delivery, requester_key, NULL::json)
    SELECT id, account_id, body_digest, reserved_wei::text, accepted_at, deadline_at, parameters,
           delivery, requester_key, price, admission,
           (parameters, requester_key) = (${bound[0]}::jsonb, ${bound[1]}::jsonb) AS is_bound
    FROM (SELECT * FROM joined UNION ALL SELECT * FROM accepted) AS stored
      FULL JOIN admission ON TRUE`;
  let [row] = await store().catch((error: unknown) => {
    if (!isUniqueViolation(error)) throw error;
    return store();
  });
  // What it was refused for may be what a call with the same key has just taken, which this
  // statement couldn't see yet: the next one sees.
  if (row?.id === null) [row] = await store();
  if (!row) throw new Error('a call was neither accepted nor refused');
  if (row.id === null) {
    const { code, detail, metadata } = refusalOf(row.admission, demand);
    throw new CodedError(code, detail, { metadata });
  }
  if (row.account_id !== accountId || row.body_digest !== bodyDigest)
    throw new CodedError('receive.idempotency_mismatch');
  return row;
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
    // The ledger before the key, whose counters follow the request.
    const [row] = await transaction.$queryRaw<object[]>`
      WITH open AS (
        SELECT id, ledger_settle(id, account_id, 0, reserved_wei)::text AS settled
        FROM (SELECT id, account_id, reserved_wei FROM request
              WHERE id = ${requestId} AND status = ANY (${[...from]}::text[]) FOR UPDATE)
             AS unsettled)
      UPDATE request SET status = ${status}, failure_code = ${code}, finished_at = now()
      FROM open WHERE request.id = open.id AND open.settled IS NOT NULL
      RETURNING request.id`;
    if (!row) return false;
    await recordFailure(transaction, { unitId: requestId, dispatch: 0, code });
    await transaction.$queryRaw`
      SELECT withdraw_unit(${requestId}, ${LOST_LEASE_SECONDS}::float8)::text`;
    await announceCancellation(transaction, requestId);
    await announceOutcome(transaction, requestId);
    return true;
  });
}
