import { writeJson, type Context } from './context.ts';
import { EXIT, type ExitCode } from './errors.ts';
import { ago, short, table } from './format.ts';
import { reviewedNodeId } from './ids.ts';
import { safeText, type Terminal } from './terminal.ts';
import type { ListView, ReviewHistoryView, ReviewView } from './views.ts';

/** `prlx nodes review [node]`: who was removed or flagged and why, or all that is known of one. */
export async function review(context: Context, text: string | undefined): Promise<ExitCode> {
  const { api, json, out, notes } = context;
  if (text !== undefined) {
    const id = await reviewedNodeId(api, text);
    const node = await api.get<ReviewHistoryView>(`/v1/nodes/${id}/review`);
    if (json) writeJson(out, node);
    else out.write(historyPage(node, out));
    return EXIT.ok;
  }
  const list = await api.get<ListView<ReviewView>>('/v1/nodes/review?limit=100');
  if (json) writeJson(out, list);
  else if (list.data.length === 0) notes.write('No node was removed, and none is flagged.\n');
  else {
    const head = ['node', 'name', 'operator', 'status', 'flags', 'trust', 'why'];
    out.write(titled(head, list.data.map(reviewRow), out));
    if (list.has_more) notes.write('There are more: GET /v1/nodes/review has them by pages.\n');
  }
  return EXIT.ok;
}

/** `prlx nodes reinstate <node> --reason TEXT` */
export async function reinstate(
  { api, json, out }: Context,
  text: string,
  reason: string,
): Promise<ExitCode> {
  const id = await reviewedNodeId(api, text);
  const node = await api.post<ReviewHistoryView>(`/v1/nodes/${id}/reinstate`, { reason });
  if (json) writeJson(out, node);
  else
    out.write(
      `${id} is ${safeText(node.status)}: it gets work once a request of the network's own has ` +
        'come back right, and at first all its work is checked.\n',
    );
  return EXIT.ok;
}

function reviewRow(node: ReviewView): string[] {
  return [
    short(node.id),
    node.name,
    node.operator,
    node.status,
    flagsOf(node),
    node.trust.map(trustOf).join('; '),
    node.why ? `${node.why.message} (${node.why.code})` : '',
  ];
}

function flagsOf({ flags }: ReviewView): string {
  return Object.entries(flags)
    .map(([code, count]) => `${count} ${code}`)
    .join(', ');
}

function trustOf({ checked, log_ratio: ratio }: ReviewView['trust'][number]): string {
  return `${checked} checked, ratio ${ratio.toFixed(1)}`;
}

function historyPage(node: ReviewHistoryView, out: Terminal): string {
  const { why, trust, reviews, events, votes } = node;
  const lines: [string, string][] = [
    ['Node', node.id],
    ['Name', `${node.name}, of ${node.operator}`],
    ['Status', node.status],
    ['Why', why ? `${why.message} (${why.code})` : 'nothing is against it'],
    ['Flags', flagsOf(node) || 'none that is to be decided on'],
    ...trust.map((row): [string, string] => ['Trust', `${row.workload_class}: ${trustOf(row)}`]),
  ];
  const page = lines
    .map(([name, text]) => `${out.style('bold', name.padEnd(9))}${safeText(text)}\n`)
    .join('');
  const sections = [
    section(
      ['when', 'decision', 'by', 'why'],
      reviews.map(({ created_at: at, decision, reviewer, reason, why: code }) => [
        ago(at),
        decision,
        reviewer ?? 'the network',
        reason ?? (code ? `${code.message} (${code.code})` : ''),
      ]),
      out,
    ),
    section(
      ['when', 'flag', 'unit', 'attempt', 'meaning'],
      events.map((event) => [
        ago(event.created_at),
        event.code,
        short(event.unit),
        String(event.dispatch),
        event.message,
      ]),
      out,
    ),
    section(
      ['when', 'vote', 'unit', 'attempt', 'outcome'],
      votes.map((vote) => [
        ago(vote.decided_at),
        vote.side,
        short(vote.unit),
        String(vote.dispatch),
        vote.outcome,
      ]),
      out,
    ),
  ];
  const more = node.has_more ? '\nOlder entries are left out.\n' : '';
  return page + sections.join('') + more;
}

function section(head: readonly string[], rows: string[][], out: Terminal): string {
  return rows.length === 0 ? '' : `\n${titled(head, rows, out)}`;
}

function titled(head: readonly string[], rows: string[][], out: Terminal): string {
  const [headLine = '', ...lines] = table(head, rows);
  return [out.style('bold', headLine), ...lines].map((line) => `${line}\n`).join('');
}
