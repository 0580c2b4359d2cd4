import { ApplicationFailure } from '@temporalio/activity';
import { Counter, Histogram, Registry } from 'prom-client';
import type { Attempts } from '../nodes/attempts.ts';
import type { Backend } from '../nodes/backends/backend.ts';
import type { HealthWatch } from '../nodes/health.ts';
import { NODE_REPORTED_CODES } from '../protocol/execute.ts';
import type { TokenUsage } from '../protocol/settle.ts';
import { gauge } from './metrics.ts';

const UNIT_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
const CODES: readonly string[] = NODE_REPORTED_CODES;

/** What is looked at when somebody looks. */
interface Watched {
  readonly attempts: Pick<Attempts, 'list'>;
  readonly backend: Pick<Backend, 'slots'>;
  readonly health: Pick<HealthWatch, 'isHealthy'>;
}

/** What a node counts. Canaries and checks are units like all others: a node can't tell them. */
export class NodeMetrics {
  readonly registry = new Registry();
  readonly #units = new Counter({
    name: 'plx_node_units_total',
    help: 'Units that were executed, by outcome.',
    labelNames: ['outcome'],
    registers: [this.registry],
  });
  readonly #seconds = new Histogram({
    name: 'plx_node_unit_duration_seconds',
    help: 'Time that executions took.',
    buckets: UNIT_SECONDS,
    registers: [this.registry],
  });
  readonly #tokens = new Counter({
    name: 'plx_node_tokens_total',
    help: 'Tokens of results that were proved.',
    labelNames: ['kind'],
    registers: [this.registry],
  });

  watch({ attempts, backend, health }: Watched): void {
    const watched = (name: string, help: string, read: () => number) =>
      gauge(this.registry, `plx_node_${name}`, help, read);
    watched('units_running', 'Units that run now.', () => attempts.list().length);
    watched('slots', 'Units that may run at once.', () => backend.slots);
    watched('backend_healthy', 'Whether the backend can serve, as of the last look.', () =>
      health.isHealthy() ? 1 : 0,
    );
  }

  /** Counts one execution. @throws what it throws. */
  async unit<T>(execution: Promise<T>): Promise<T> {
    const begunAt = performance.now();
    try {
      const result = await execution;
      this.#units.inc({ outcome: 'returned' });
      return result;
    } catch (error) {
      this.#units.inc({ outcome: outcomeOf(error) });
      throw error;
    } finally {
      this.#seconds.observe((performance.now() - begunAt) / 1_000);
    }
  }

  returned({ promptTokens, completionTokens }: TokenUsage): void {
    this.#tokens.inc({ kind: 'prompt' }, promptTokens);
    this.#tokens.inc({ kind: 'completion' }, completionTokens);
  }
}

/** The code that the coordinator is told; `abandoned` when nobody waited for it any more. */
function outcomeOf(error: unknown): string {
  const type = error instanceof ApplicationFailure ? error.type : null;
  return type && CODES.includes(type) ? type : 'abandoned';
}
