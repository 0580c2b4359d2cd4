import { writeJson, type Context } from './context.ts';
import { EXIT, usageError, type ExitCode } from './errors.ts';
import { ago, short, span, table } from './format.ts';
import { findNode, isNodeId, requestId } from './ids.ts';
import { nodePage } from './nodes.ts';
import { safeText, type Terminal } from './terminal.ts';
import type { NodeExplanation, RequestExplanation } from './views.ts';

/** `prlx explain <id>`: why a request is where it is, or why a node has no work. */
export async function explain(context: Context, text: string): Promise<ExitCode> {
  const { api, json, out } = context;
  if (text.startsWith('req_')) {
    const id = await requestId(api, text);
    const explanation = await api.get<RequestExplanation>(`/v1/requests/${id}/explain`);
    if (json) writeJson(out, explanation);
    else explainRequest(explanation, out);
    return EXIT.ok;
  }
  if (/^\w+_/.test(text) && !isNodeId(text))
    throw usageError(`${text} is neither a request (req_…) nor a node (nd_…, or its name).`);
  const node = await findNode(api, text);
  const explanation = await api.get<NodeExplanation>(`/v1/nodes/${node.id}/explain`);
  if (json) writeJson(out, explanation);
  else explainNode(explanation, out);
  return EXIT.ok;
}

function explainRequest(explanation: RequestExplanation, out: Terminal): void {
  const { attempts, nodes, requirements: asked } = explanation;
  const tokens = `${asked.complexity_is_lower_bound ? 'at least ' : ''}${asked.complexity_tokens}`;
  const lines = [
    `${out.style('bold', safeText(short(explanation.id)))} ${safeText(headline(explanation))}`,
    safeText(
      `It asks for ${asked.model}, tier ${asked.hardware_tier} or up, ${tokens} tokens ` +
        `within ${asked.deadline_seconds} s` +
        `${asked.complexity_is_lower_bound ? ' (its prompt comes on top)' : ''}.`,
    ),
  ];
  if (attempts.length > 0) {
    const rows = attempts.map((attempt) => [
      String(attempt.dispatch),
      short(attempt.node),
      attempt.node_name ?? '',
      attempt.outcome ?? 'under way',
      attempt.is_check ? `A random check. ${attempt.message}` : attempt.message,
    ]);
    lines.push('', ...titled(['attempt', 'node', 'name', 'outcome', 'meaning'], rows, out));
  }
  // What ended as it should needs no other node.
  if (!['completed', 'cancelled'].includes(explanation.status))
    lines.push(...nodeLines(nodes, out));
  out.write(`${lines.join('\n')}\n`);
}

function nodeLines(nodes: RequestExplanation['nodes'], out: Terminal): string[] {
  if (nodes.length === 0) return ['', 'There is no node in the pool.'];
  const rows = nodes.map(({ id, name, failed_filter, message }) => [
    short(id),
    name,
    failed_filter ?? 'none',
    message,
  ]);
  return ['', ...titled(['node now', 'name', 'failed filter', 'why'], rows, out)];
}

function headline({ status, waiting, error, deadline_at, attempts }: RequestExplanation): string {
  if (waiting) {
    const left = span(Date.parse(deadline_at) - Date.now());
    const waited = span(Date.now() - Date.parse(waiting.since));
    const place = `number ${waiting.position} of ${waiting.queue_length} in the queue`;
    return `has waited for a node for ${waited}, as ${place}; it fails in ${left} without one.`;
  }
  if (error) return `is ${status}: ${error.message} (${error.code})`;
  if (status === 'running') return `is running: attempt ${attempts.at(-1)?.dispatch ?? 1}.`;
  if (status === 'accepted') return 'is accepted, and its run is just being started.';
  if (status === 'validated')
    return 'is validated: its result can be had, and it is being randomly checked or settled.';
  return `is ${status}.`;
}

function explainNode(explanation: NodeExplanation, out: Terminal): void {
  const { reasons, waiting, recent_attempts: recent, last_attempt_at: last } = explanation;
  const outcomes = Object.entries(recent).map(([outcome, count]) => `${count} ${outcome}`);
  const attempts = last
    ? `${outcomes.join(', ')}; the last one ${ago(last)}`
    : 'none yet that was decided';
  const field = (name: string, text: string) =>
    `${out.style('bold', name.padEnd(9))}${safeText(text)}\n`;
  out.write(nodePage(explanation, out));
  out.write(field('Attempts', attempts));
  out.write(field('Queue', `${waiting.total} wait, ${waiting.suited} of them for such a node`));
  const events = explanation.events.map(({ code, message, created_at: at }) => [
    ago(at),
    code,
    message,
  ]);
  if (events.length > 0)
    out.write(`\n${titled(['when', 'event', 'meaning'], events, out).join('\n')}\n`);
  out.write(`\n${out.style('bold', 'Why it has no more work now')}\n`);
  for (const { code, message } of reasons) out.write(`- ${safeText(`${message} (${code})`)}\n`);
}

function titled(head: readonly string[], rows: string[][], out: Terminal): string[] {
  const [headLine = '', ...lines] = table(head, rows);
  return [out.style('bold', headLine), ...lines];
}
