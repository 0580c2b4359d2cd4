import { STEPS } from '../protocol/lifecycle.ts';
import { short } from './format.ts';
import { safeText, type Format, type Terminal } from './terminal.ts';
import type { RequestView, StepView } from './views.ts';

const FORMATS: Partial<Record<StepView['state'], Format>> = {
  done: 'green',
  skipped: 'dim',
  failed: 'red',
  running: 'cyan',
  waiting: 'yellow',
};

const RESULT_WIDTH = 34;

type Cells = [number: string, title: string, plane: string, result: string, ms: string];

/** A line before it is styled, so that it can be cut to a width. */
export interface Line {
  readonly text: string;
  readonly format?: Format;
}

/** The nine steps, in canonical order; attempts that were lost come before their step's last. */
export function stepLines({ steps }: Pick<RequestView, 'steps'>): Line[] {
  const width = Math.max(RESULT_WIDTH, ...(steps ?? []).map((step) => stepResult(step).length));
  const row = (...cells: Cells) => textRow(cells, width);
  const head: Line = { text: row('#', 'step', 'plane', 'result', 'ms'), format: 'bold' };
  const lines = STEPS.flatMap(({ number, name, title, plane }): Line[] => {
    const records = steps?.filter(({ step }) => step === name) ?? [];
    if (records.length === 0)
      return [{ text: row(String(number), title, plane, steps ? 'pending' : 'unknown', '') }];
    return records.map((record) => {
      const format = FORMATS[record.state];
      const milliseconds = record.elapsed_ms?.toFixed(1) ?? '';
      const text = row(String(number), title, plane, stepResult(record), milliseconds);
      return { text, ...(format ? { format } : {}) };
    });
  });
  return [head, ...lines];
}

/** What became of a step: `done on nd_a3f10b77 (attempt 2), random check: agreed`. */
export function stepResult({ state, note, node, dispatch }: StepView): string {
  const where = node ? ` on ${short(node)}` : '';
  const again = (dispatch ?? 1) > 1 ? ` (attempt ${dispatch})` : '';
  const at = `${where}${again}`;
  // A failure is the note; what was done or runs on a node is only annotated by it.
  const said = state === 'failed' || !at ? `${state}${note ? `: ${note}` : ''}${at}` : null;
  return safeText(said ?? `${state}${at}${note ? `, ${note}` : ''}`);
}

/** Lines as text, each in its style. */
export function render(lines: readonly Line[], out: Terminal): string {
  return lines.map(({ text, format }) => (format ? out.style(format, text) : text)).join('\n');
}

function textRow([number, title, plane, result, ms]: Cells, width: number): string {
  return [
    number.padStart(2),
    title.padEnd(19),
    plane.padEnd(13),
    result.padEnd(width),
    ms.padStart(9),
  ].join('  ');
}
