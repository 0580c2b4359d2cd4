import { clearScreenDown, moveCursor } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { stepNamed } from '../protocol/lifecycle.ts';
import { writeJson, type Context } from './context.ts';
import { short, span } from './format.ts';
import { onInterruptSay } from './interrupt.ts';
import { PATIENCE, patiently, type Patience } from './patience.ts';
import { elapsed, getRequest, summary } from './request.ts';
import { render, stepLines, stepResult, type Line } from './steps.ts';
import { safeText, type Terminal } from './terminal.ts';
import type { RequestView } from './views.ts';

const POLL_MS = 250;

export interface WatchOptions {
  /** Where `context.out` goes: a terminal is redrawn in place, anything else gets lines. */
  readonly stream: NodeJS.WriteStream;
  /** Shows nothing, and waits. */
  readonly silent: boolean;
  /** With a gateway that is away. Default: half a minute. */
  readonly patience?: Patience;
}

interface View {
  readonly show: (request: RequestView) => void;
  /** A line that is no news of the request itself. */
  readonly say: (line: string) => void;
}

/** Shows the nine steps as they go, until the request has ended. @returns how it ended. */
export async function watchRequest(
  context: Context,
  id: string,
  { stream, silent, patience = PATIENCE }: WatchOptions,
): Promise<RequestView> {
  const { api, notes } = context;
  const view = viewOn(context, stream, silent);
  const quiet = onInterruptSay(() =>
    notes.write(`\nThe request goes on. \`prlx cancel ${short(id)}\` stops it.\n`),
  );
  try {
    for (;;) {
      const request = await patiently(() => getRequest(api, id), view.say, patience);
      view.show(request);
      if (request.finished_at !== null) return request;
      await sleep(POLL_MS);
    }
  } finally {
    quiet();
  }
}

function viewOn({ json, out, notes }: Context, stream: NodeJS.WriteStream, silent: boolean): View {
  const say = (line: string) => notes.write(`${notes.style('yellow', line)}\n`);
  if (silent) return { show: () => {}, say };
  if (json) return { show: jsonLines(out), say };
  return stream.isTTY ? redrawn(out, stream) : { show: appended(out), say };
}

/** The whole record, each time it says something new. */
function jsonLines(out: Terminal): View['show'] {
  let last = '';
  return (request) => {
    const text = JSON.stringify(request);
    if (text !== last) writeJson(out, request);
    last = text;
  };
}

/** The table, drawn over the one before; no line may wrap, or more lines would have to go. */
function redrawn(out: Terminal, stream: NodeJS.WriteStream): View {
  let drawn = 0;
  const fitting = (text: string) => text.slice(0, stream.columns - 1);
  const show = (request: RequestView) => {
    const lines: Line[] = [
      { text: safeText(`${request.id.slice(0, 20)}…  ${request.status}  ${elapsed(request)}`) },
      ...stepLines(request),
      ...noteLines(request),
    ].map(({ text, ...rest }) => ({ ...rest, text: fitting(text) }));
    if (drawn > 0) {
      moveCursor(stream, 0, -drawn);
      clearScreenDown(stream);
    }
    out.write(`${render(lines, out)}\n`);
    drawn = lines.length;
    if (request.finished_at !== null) out.write(`\n${ending(request, out)}\n`);
  };
  // It goes with the table when that is drawn again.
  const say = (line: string) => {
    out.write(`${out.style('yellow', fitting(line))}\n`);
    drawn += 1;
  };
  return { show, say };
}

/** A line for each change. */
function appended(out: Terminal): View['show'] {
  const seen = new Set<string>();
  return (request) => {
    const since = span(Date.now() - Date.parse(request.accepted_at));
    const changes = [
      ...noteLines(request).map(({ text }) => text),
      ...(request.steps ?? [])
        .filter(({ state }) => state !== 'pending')
        .map((step) => `${step.number} ${stepNamed(step.step).title}: ${stepResult(step)}`),
    ];
    for (const change of changes.filter((text) => !seen.has(text))) {
      seen.add(change);
      out.write(`${since.padStart(8)}  ${change}\n`);
    }
    if (request.finished_at !== null) out.write(`${ending(request, out)}\n`);
  };
}

function noteLines({ steps_error: error }: RequestView): Line[] {
  return error
    ? [{ text: safeText(`The steps aren't known just now: ${error.message}`), format: 'yellow' }]
    : [];
}

function ending(request: RequestView, out: Terminal): string {
  return summary(request, elapsed(request), out);
}
