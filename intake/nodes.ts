import { randomBytes, verify } from 'node:crypto';
import { z } from 'zod';
import { nodeIdOf, rsaPublicKeyFromSpki } from '../crypto/keys.ts';
import { inTransaction, type Database, type Transaction } from '../prisma/client.ts';
import type { Binding } from '../protocol/binding.ts';
import { canonicalBytes } from '../protocol/canonical.ts';
import { CodedError } from '../protocol/errors.ts';
import { isNodeId, type NodeId } from '../protocol/ids.ts';
import { firstIssue } from '../protocol/issues.ts';
import {
  isUnchanged,
  PROBE_PAUSE_SECONDS,
  remeasure,
  type Measured,
  type MeasuredClaims,
  type Remeasure,
} from '../protocol/measure.ts';
import { FEATURES, HARDWARE_TIER_MAX } from '../protocol/receive.ts';
import { isWorkloadClass } from '../protocol/workload.ts';
import type { JoinPolicy } from './admission.ts';
import { boundOperator, operatorAt } from './operators.ts';

/** How far a node's clock may be off when it registers; it bounds replays of a registration. */
const CLOCK_SKEW_SECONDS_MAX = 60;
const SLOTS_MAX = 256;

const label = z.string().regex(/^[\w.:/+-]{1,120}$/);
const spki = z.base64().max(2_000);

/**
 * What a node says of itself: all but the keys and the operator's signature is a claim. A malformed
 * binding has a code of its own, so that whoever runs the node knows where to look.
 */
const registrationSchema = z.strictObject({
  nodeId: z.custom<NodeId>(isNodeId),
  name: label,
  binding: z.unknown().optional(),
  tier: z.int().min(1).max(HARDWARE_TIER_MAX),
  workloadClasses: z.array(z.string().refine(isWorkloadClass)).min(1).max(16),
  modelId: label,
  modelDigest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  engine: z.string().min(1).max(200),
  /** What its backend can do besides chat; nodes of earlier versions don't say it. */
  features: z.array(z.enum(FEATURES)).max(FEATURES.length).optional(),
  tokensPerSecond: z.number().positive().max(1e6),
  slots: z.int().min(1).max(SLOTS_MAX),
  /** Nodes of one operator that name the same machine share its slots. */
  machine: label.optional(),
  signingKey: spki,
  encryptionKey: spki,
  issuedAtMs: z.int(),
});

type Registration = z.infer<typeof registrationSchema>;

export interface RegistrationDependencies {
  readonly database: Database;
  /** Whether it opens accounts for operators that are unknown. */
  readonly join: JoinPolicy;
  /** Of the chain that bindings are signed for. */
  readonly chainId: number;
}

/** What is signed with the node's signing key: the canonical bytes of the registration. */
const signedRegistrationSchema = z.strictObject({
  registration: registrationSchema,
  signature: z.base64url().max(1_000),
});

/**
 * Registers a node, or renews what is known of it. Its id follows from its key, and the signature
 * shows that it holds that key. It gets work once it was measured: a node that is new here, or that
 * comes back as something else, waits for its canary (`intake/probe.ts`).
 *
 * @throws CodedError `node.registration_invalid`, `node.registration_refused`,
 * `node.binding_invalid`, `node.operator_unknown`, or `node.operator_mismatch`: a node's record
 * stays with the operator that first signed for it.
 */
export async function registerNode(
  { database, join, chainId }: RegistrationDependencies,
  body: unknown,
): Promise<void> {
  const parsed = signedRegistrationSchema.safeParse(body);
  if (!parsed.success) throw new CodedError('node.registration_invalid', firstIssue(parsed.error));
  const { registration, signature } = parsed.data;
  assertAuthentic(registration, signature);
  const bound = await boundOperator(chainId, registration.nodeId, registration.binding);
  await inTransaction(database, async (transaction) => {
    const operatorId = await operatorAt(transaction, bound.operator, join);
    await store(transaction, { ...registration, operatorId, binding: bound.binding });
  });
}

function assertAuthentic(registration: Registration, signature: string): void {
  const signingDer = Buffer.from(registration.signingKey, 'base64');
  const skewMs = Math.abs(Date.now() - registration.issuedAtMs);
  let authentic = false;
  try {
    const signingKey = rsaPublicKeyFromSpki(signingDer);
    rsaPublicKeyFromSpki(Buffer.from(registration.encryptionKey, 'base64'));
    const bytes = Buffer.from(signature, 'base64url');
    authentic = verify('sha256', canonicalBytes(registration), signingKey, bytes);
  } catch (cause) {
    throw new CodedError('node.registration_invalid', 'A key is unsuitable.', { cause });
  }
  if (!authentic || nodeIdOf(signingDer) !== registration.nodeId)
    throw new CodedError('node.registration_refused');
  if (skewMs > CLOCK_SKEW_SECONDS_MAX * 1_000)
    throw new CodedError('node.registration_refused', `Its clock is off by ${skewMs} ms.`);
}

interface BoundRegistration extends Registration {
  readonly operatorId: string;
  readonly binding: Binding;
}

async function store(transaction: Transaction, node: BoundRegistration): Promise<void> {
  const machineId = await machineOf(transaction, node);
  // Slots before nodes, as everywhere: two that lock both can't wait for each other.
  await transaction.$executeRaw`
    INSERT INTO slot (machine_id, index)
    SELECT ${machineId}, generate_series(0, ${node.slots}::int - 1)
    ON CONFLICT (machine_id, index) DO NOTHING`;
  const { measured, unchanged } = await whatCounts(transaction, node, machineId);
  // Its first heartbeat takes it online.
  const stored = await transaction.$executeRaw`
    INSERT INTO node (id, name, operator_id, machine_id, slots, status, tier, claimed_tier,
                      workload_classes, model_id, model_digest, engine, features,
                      tokens_per_second, claimed_tokens_per_second, signing_key, encryption_key,
                      probe_after, is_online, binding)
    VALUES (${node.nodeId}, ${node.name}, ${node.operatorId}, ${machineId}, ${node.slots},
            'probing', 1, ${node.tier}, ${[...node.workloadClasses]}::text[], ${node.modelId},
            ${node.modelDigest}, ${node.engine}, ${[...(node.features ?? [])]}::text[], 0,
            ${node.tokensPerSecond}, decode(${node.signingKey}, 'base64'),
            decode(${node.encryptionKey}, 'base64'), now(), FALSE,
            ${JSON.stringify(node.binding)}::jsonb)
    ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, machine_id = EXCLUDED.machine_id,
      slots = EXCLUDED.slots, claimed_tier = EXCLUDED.claimed_tier,
      workload_classes = EXCLUDED.workload_classes, model_id = EXCLUDED.model_id,
      model_digest = EXCLUDED.model_digest, engine = EXCLUDED.engine,
      features = EXCLUDED.features,
      claimed_tokens_per_second = EXCLUDED.claimed_tokens_per_second,
      encryption_key = EXCLUDED.encryption_key, binding = EXCLUDED.binding,
      is_full = FALSE, last_seen_at = now(),
      tier = least(node.tier, EXCLUDED.claimed_tier),
      measured_tokens = CASE WHEN ${measured} = 'anew' THEN 0 ELSE node.measured_tokens END,
      measured_seconds = CASE WHEN ${measured} = 'anew' THEN 0 ELSE node.measured_seconds END,
      status = CASE WHEN node.status = 'removed' THEN 'removed'
                    WHEN ${measured} = 'keep' AND (node.status = 'active'
                      OR (node.status = 'draining' AND node.probe_until IS NULL)) THEN 'active'
                    ELSE 'probing' END,
      probe_after = least(node.probe_after,
                          now() + make_interval(secs => ${PROBE_PAUSE_SECONDS}::float8)),
      probe_until = CASE WHEN ${unchanged} AND node.probe_until > now() THEN node.probe_until END
    WHERE node.operator_id = EXCLUDED.operator_id`;
  if (stored === 0) throw new CodedError('node.operator_mismatch');
}

/** What of the node's measurement goes on to count, and whether a canary under way still does. */
async function whatCounts(
  transaction: Transaction,
  node: Registration,
  machineId: string,
): Promise<{ readonly measured: Remeasure; readonly unchanged: boolean }> {
  const [known] = await transaction.$queryRaw<(MeasuredClaims & Measured)[]>`
    SELECT machine_id AS "machineId", model_digest AS "modelDigest", engine,
           claimed_tier AS tier, slots, encode(encryption_key, 'base64') AS "encryptionKey",
           measured_tokens AS tokens, measured_seconds AS seconds
    FROM node WHERE id = ${node.nodeId} FOR UPDATE`;
  if (!known) return { measured: 'anew', unchanged: false };
  // PostgreSQL breaks base64 into lines.
  const before = { ...known, encryptionKey: known.encryptionKey.replaceAll('\n', '') };
  const claimed = { ...node, machineId };
  return { measured: remeasure(before, claimed), unchanged: isUnchanged(before, claimed) };
}

/**
 * The machine that a node says it is on; without a name it is a machine of its own. A name belongs
 * to one operator, whose nodes share its slots: a claim, within what that operator signed for.
 */
async function machineOf(transaction: Transaction, node: BoundRegistration): Promise<string> {
  const { operatorId, nodeId, machine: name = nodeId } = node;
  const id = `mc_${randomBytes(16).toString('hex')}`;
  const [machine] = await transaction.$queryRaw<{ id: string }[]>`
    INSERT INTO machine (id, operator_id, name) VALUES (${id}, ${operatorId}, ${name})
    ON CONFLICT (operator_id, name) DO UPDATE SET name = EXCLUDED.name
    RETURNING id`;
  if (!machine) throw new Error('INSERT … RETURNING returned no row');
  return machine.id;
}
