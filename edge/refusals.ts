import type { Logger } from 'pino';
import { Counter, type Registry } from 'prom-client';
import { TokenBucket } from '../protocol/buckets.ts';
import type { ErrorCode } from '../protocol/errors.ts';

/** Codes by which the edge itself refuses. */
export type EdgeCode = Exclude<Extract<ErrorCode, `edge.${string}`>, 'edge.undelivered'>;

/** Something that a node, or a stranger, asked for and doesn't get. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: EdgeCode;

  /** @param detail for the log; the one who asked only learns the code. */
  constructor(code: EdgeCode, detail?: string) {
    super(detail ?? code);
    this.code = code;
  }
}

/** Whom a refusal concerns. */
export interface RefusedBy {
  readonly nodeId?: string;
  readonly address?: string;
  readonly detail?: string;
}

export interface Refusals {
  /**
   * Counts a refusal, the edge's own or a coordinator's, and logs it: a flood of them in one line
   * for each ten seconds, and so many floods at once; those above that are counted only.
   */
  readonly refused: (code: ErrorCode, by: RefusedBy) => void;
}

const QUIET_MS = 10_000;
const KEYS_MAX = 10_000;
/** Of all floods together. */
const LINES_PER_SECOND = 20;
const LINES_BURST = 500;
/** What a stranger sent gets into a log line only this far. */
const DETAIL_MAX = 200;

/** Counts in `plx_edge_refused_total{code}`. */
export function countRefusals(log: Pick<Logger, 'warn'>, metrics: Registry): Refusals {
  const counter = new Counter({
    name: 'plx_edge_refused_total',
    help: 'What the edge refused.',
    labelNames: ['code'],
    registers: [metrics],
  });
  // The oldest comes first, since what is logged again goes to the end.
  const quiet = new Map<string, { untilMs: number; more: number }>();
  const lines = new TokenBucket(LINES_PER_SECOND, LINES_BURST, performance.now());
  return {
    refused(code, { nodeId, address, detail }) {
      counter.inc({ code });
      const key = `${code} ${nodeId ?? address ?? ''}`;
      const nowMs = performance.now();
      const known = quiet.get(key);
      if ((known && nowMs < known.untilMs) || !lines.take(nowMs)) {
        if (known) known.more += 1;
        return;
      }
      quiet.delete(key);
      const [oldest] = quiet.size < KEYS_MAX ? [] : quiet.keys();
      if (oldest !== undefined) quiet.delete(oldest);
      quiet.set(key, { untilMs: nowMs + QUIET_MS, more: 0 });
      log.warn(
        {
          code,
          ...(nodeId === undefined ? {} : { nodeId }),
          ...(address === undefined ? {} : { address }),
          ...(detail === undefined ? {} : { detail: printable(detail) }),
          ...(known?.more ? { moreBefore: known.more } : {}),
        },
        'edge // refused',
      );
    },
  };
}

function printable(text: string): string {
  return text.slice(0, DETAIL_MAX).replaceAll(/[^\x20-\x7e]/g, '?');
}
