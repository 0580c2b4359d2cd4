import { checkerOrder, drawOf, epochSecret, policyHash, secretHash } from '../crypto/sampling.ts';
import type { Ring, WrapKey } from '../crypto/keys.ts';
import { inTransaction, type Database, type Transaction } from '../prisma/client.ts';
import { canonicalText } from '../protocol/canonical.ts';
import type { UnitId } from '../protocol/ids.ts';
import {
  drawPpm,
  parsePolicy,
  REVEALED_EPOCHS_LATER,
  seasonedRatePpm,
  type SamplingPolicy,
} from '../protocol/sampling.ts';

/** Any number that all coordinators share: one of them publishes at a time. */
const EPOCH_LOCK = 5_074_823;

export interface SamplingOptions {
  readonly database: Database;
  /** The coordinators' sampling keys, which nobody else has. */
  readonly ring: Ring<WrapKey>;
  /** Of the epochs that are published from now on. */
  readonly policy: SamplingPolicy;
  readonly epochSeconds: number;
  /** Told of an epoch whose secret no key of the ring gives: it is never revealed. */
  readonly onSecretLost: (epoch: number) => void;
}

/** What would be drawn for a return in one epoch. */
export interface Draw {
  readonly epoch: number;
  readonly draw: string;
  readonly drawPpm: number;
  /** Rate after probation. */
  readonly ratePpm: number;
  readonly probationUnits: number;
}

interface EpochRow {
  epoch: number;
  secret_hash: string;
  policy: string;
  has_begun: boolean;
}

interface Epoch {
  readonly epoch: number;
  readonly secret: string;
  readonly policy: SamplingPolicy;
}

/**
 * The committed secrets by which units are sampled (design §7). Their hashes and policies are rows
 * that were there before their epoch began; until they are revealed secrets are in memory only.
 */
export class Sampling {
  readonly #options: SamplingOptions;
  /** The epochs that may be the present one. */
  #epochs: readonly Epoch[] = [];

  constructor(options: SamplingOptions) {
    this.#options = options;
  }

  /**
   * Publishes the next epoch once there is none ahead, reveals what is due, and takes note of the
   * present epoch and the one after it. Safe to repeat, by any number of coordinators.
   */
  async refresh(): Promise<void> {
    const { database } = this.#options;
    const rows = await inTransaction(database, async (transaction) => {
      await transaction.$executeRaw`SELECT pg_advisory_xact_lock(${EPOCH_LOCK}::bigint)`;
      await this.#publish(transaction);
      await this.#reveal(transaction);
      return latest(transaction);
    });
    this.#epochs = rows.flatMap((row) => this.#known(row) ?? []);
  }

  /** What is drawn for a return, in each epoch that may be the present one. */
  draws(unitId: UnitId, poe: string, workloadClass: string): readonly Draw[] {
    return this.#epochs.map(({ epoch, secret, policy }) => {
      const draw = drawOf(secret, unitId, poe);
      return {
        epoch,
        draw,
        drawPpm: drawPpm(draw),
        ratePpm: seasonedRatePpm(policy, workloadClass),
        probationUnits: policy.probationUnits,
      };
    });
  }

  /** In which order nodes are asked to check a return that was drawn in that epoch. */
  order(epoch: number, unitId: UnitId, poe: string): string {
    const known = this.#epochs.find((each) => each.epoch === epoch);
    return checkerOrder(known?.secret ?? this.#secret(epoch), unitId, poe);
  }

  async #publish(transaction: Transaction): Promise<void> {
    const { policy, epochSeconds, onSecretLost } = this.#options;
    const rows = await latest(transaction);
    for (const lost of rows.filter((row) => !this.#known(row))) onSecretLost(lost.epoch);
    const last = rows.at(-1);
    const usable = rows.filter((row) => this.#known(row));
    const isPresentKnown = usable.some(({ has_begun: hasBegun }) => hasBegun);
    if (isPresentKnown && usable.some(({ has_begun: hasBegun }) => !hasBegun)) return;
    const text = canonicalText(policy);
    // The first one begins at once, and so does one that follows a secret that was lost: there is
    // none to sample by until then.
    const delays = isPresentKnown ? [epochSeconds] : [0, epochSeconds];
    for (const [index, delaySeconds] of delays.entries()) {
      const epoch = (last?.epoch ?? 0) + index + 1;
      await transaction.$executeRaw`
        INSERT INTO sampling_epoch (epoch, begins_at, secret_hash, policy, policy_hash)
        VALUES (${epoch}, now() + make_interval(secs => ${delaySeconds}::float8),
                ${secretHash(this.#secret(epoch))}, ${text}, ${policyHash(text)})`;
    }
  }

  async #reveal(transaction: Transaction): Promise<void> {
    const due = await transaction.$queryRaw<EpochRow[]>`
      SELECT epoch, secret_hash, policy, TRUE AS has_begun FROM sampling_epoch
      WHERE secret IS NULL AND epoch <= ${-REVEALED_EPOCHS_LATER}
        + (SELECT max(epoch) FROM sampling_epoch WHERE begins_at <= statement_timestamp())
      ORDER BY epoch DESC LIMIT 100`;
    for (const row of due) {
      const known = this.#known(row);
      if (known)
        await transaction.$executeRaw`
          UPDATE sampling_epoch SET secret = ${known.secret}, revealed_at = now()
          WHERE epoch = ${row.epoch}`;
    }
  }

  #secret(epoch: number): string {
    return epochSecret(this.#options.ring[0], epoch);
  }

  /** By whichever key of the ring gives the secret that was committed to. */
  #known({ epoch, secret_hash: hash, policy }: EpochRow): Epoch | undefined {
    const secret = this.#options.ring
      .map((key) => epochSecret(key, epoch))
      .find((candidate) => secretHash(candidate) === hash);
    return secret === undefined ? undefined : { epoch, secret, policy: parsePolicy(policy) };
  }
}

/**
 * The present epoch and those ahead, in their order. By the time of the statement: that of the
 * transaction (`now()`) may be from before another coordinator's, for whose lock this one waited,
 * and then the epoch that the other one began would seem to be still ahead.
 */
function latest(transaction: Transaction): Promise<EpochRow[]> {
  return transaction.$queryRaw<EpochRow[]>`
    SELECT epoch, secret_hash, policy, begins_at <= statement_timestamp() AS has_begun
    FROM sampling_epoch
    WHERE epoch >= coalesce(
      (SELECT max(epoch) FROM sampling_epoch WHERE begins_at <= statement_timestamp()), 0)
    ORDER BY epoch`;
}
