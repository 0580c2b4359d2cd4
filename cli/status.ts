import { writeJson, type Context } from './context.ts';
import { EXIT, usageError, type ExitCode } from './errors.ts';
import { ago, prlx, short, span, table } from './format.ts';
import { requestId } from './ids.ts';
import { checkWord, elapsed, getRequest, summary } from './request.ts';
import { render, stepLines } from './steps.ts';
import { safeText } from './terminal.ts';
import type { ListView, RequestSummaryView } from './views.ts';
import { watchRequest } from './watch.ts';

export interface StatusOptions {
  readonly watch?: boolean;
  readonly limit?: number;
  readonly status?: string;
  readonly after?: string;
}

/** `prlx status [id]`: recent requests, or the nine steps of one. */
export async function status(
  context: Context,
  text: string | undefined,
  options: StatusOptions,
): Promise<ExitCode> {
  if (text === undefined) return listed(context, options);
  if (options.limit !== undefined || options.status !== undefined || options.after !== undefined)
    throw usageError('--limit, --status and --after are for the list: leave the id out.');
  const { api, json, out } = context;
  const id = await requestId(api, text);
  if (options.watch) {
    const watched = await watchRequest(context, id, { stream: process.stdout, silent: false });
    return watched.status === 'completed' ? EXIT.ok : EXIT.failed;
  }
  const request = await getRequest(api, id);
  if (json) writeJson(out, request);
  else {
    out.write(`${render(stepLines(request), out)}\n\n${summary(request, elapsed(request), out)}\n`);
    if (request.steps_error)
      out.write(
        out.style('yellow', `Steps    unknown: ${safeText(request.steps_error.message)}\n`),
      );
    const answer = request.result?.choices[0]?.message.content;
    if (answer !== undefined) out.write(`\n${safeText(answer)}\n`);
  }
  return EXIT.ok;
}

async function listed(context: Context, options: StatusOptions): Promise<ExitCode> {
  const { api, json, out, notes } = context;
  if (options.watch) throw usageError('--watch needs the id of a request.');
  const query = new URLSearchParams();
  if (options.limit !== undefined) query.set('limit', String(options.limit));
  if (options.status !== undefined) query.set('status', options.status);
  if (options.after !== undefined) query.set('after', await requestId(api, options.after));
  const list = await api.get<ListView<RequestSummaryView>>(`/v1/requests?${query.toString()}`);
  if (json) {
    writeJson(out, list);
    return EXIT.ok;
  }
  if (list.data.length === 0) {
    notes.write('No such requests. `prlx chat "Hello!"` makes one.\n');
    return EXIT.ok;
  }
  const head = [
    'request',
    'status',
    'model',
    'priority',
    'accepted',
    'took',
    'node',
    'check',
    'charged',
  ];
  const [headLine = '', ...lines] = table(head, list.data.map(listRow));
  out.write(`${out.style('bold', headLine)}\n${lines.map((line) => `${line}\n`).join('')}`);
  const last = list.data.at(-1);
  if (list.has_more && last)
    notes.write(notes.style('dim', `More: prlx status --after ${short(last.id)}\n`));
  return EXIT.ok;
}

function listRow(request: RequestSummaryView): string[] {
  const { accepted_at: accepted, finished_at: finished, error } = request;
  return [
    short(request.id),
    error && error.code !== 'execute.cancelled'
      ? `${request.status}: ${error.code}`
      : request.status,
    request.model,
    request.priority,
    ago(accepted),
    finished ? span(Date.parse(finished) - Date.parse(accepted)) : '',
    request.proof_of_execution ? short(request.proof_of_execution.node) : '',
    checkWord(request.verification),
    prlx(request.charged_wei) + (request.refund ? ', refunded' : ''),
  ];
}
