import type { Logger } from 'pino';
import { Counter, type Registry } from 'prom-client';
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
  const quiet = new Map<string, { untilMs: number; more: number }>();
  let prunedAtMs = 0;
  /** Looking through all of them for each new one would be an attack by itself. */
  const hasRoom = (nowMs: number): boolean => {
    if (quiet.size >= KEYS_MAX && nowMs >= prunedAtMs + 1_000) {
      prunedAtMs = nowMs;
      prune(quiet, nowMs);
    }
    return quiet.size < KEYS_MAX;
  };
  return {
    refused(code, { nodeId, address, detail }) {
      counter.inc({ code });
      const key = `${code} ${nodeId ?? address ?? ''}`;
      const nowMs = Date.now();
      const known = quiet.get(key);
      if (known && nowMs < known.untilMs) {
        known.more += 1;
        return;
      }
      if (!known && !hasRoom(nowMs)) return;
      quiet.set(key, { untilMs: nowMs + QUIET_MS, more: 0 });
      log.warn(
        {
          code,
          ...(nodeId === undefined ? {} : { nodeId }),
          ...(address === undefined ? {} : { address }),
          ...(detail === undefined ? {} : { detail: printable(detail) }),
          ...(known?.more ? { moreSinceThen: known.more } : {}),
        },
        'edge // refused',
      );
    },
  };
}

function prune(quiet: Map<string, { untilMs: number }>, nowMs: number): void {
  for (const [key, { untilMs }] of quiet) if (untilMs < nowMs) quiet.delete(key);
}

function printable(text: string): string {
  return text.slice(0, DETAIL_MAX).replaceAll(/[^\x20-\x7e]/g, '?');
}
