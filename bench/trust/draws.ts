import { wrapKeyOf } from '../../crypto/keys.ts';
import { drawOf, epochSecret } from '../../crypto/sampling.ts';
import { formatRequestId } from '../../protocol/ids.ts';
import { drawPpm, samplingPolicy, seasonedRatePpm } from '../../protocol/sampling.ts';

const WORKLOAD_CLASS = 'ai.inference';
const POE = '00'.repeat(32);

/** Draws as the coordinator does: a committed secret, a new unit each time, and its own policy. */
export class Draws {
  readonly #secret: string;
  readonly #ratePpm: number;
  readonly #unit = Buffer.alloc(32);
  #units = 0;

  /** @param rate from the policy's floor to 1. */
  constructor(rate: number, seed: number) {
    const key = Buffer.alloc(32);
    key.writeInt32BE(seed);
    this.#secret = epochSecret(wrapKeyOf('simulated', key), 1);
    this.#ratePpm = seasonedRatePpm(samplingPolicy({ [WORKLOAD_CLASS]: rate }), WORKLOAD_CLASS);
  }

  /** Whether the next unit, of a node past its probation, is checked. */
  next(): boolean {
    this.#unit.writeUInt32BE(this.#units++);
    return drawPpm(drawOf(this.#secret, formatRequestId(this.#unit), POE)) < this.#ratePpm;
  }
}
