import { writeJson, type Context } from './context.ts';
import { EXIT, type ExitCode } from './errors.ts';
import { ago, short, table } from './format.ts';
import { findNode } from './ids.ts';
import { safeText, type Terminal } from './terminal.ts';
import type { ListView, NodeView } from './views.ts';

/** `prlx nodes [id]`: the pool, smallest first, or all that is known of one node. */
export async function nodes(context: Context, text: string | undefined): Promise<ExitCode> {
  const { api, json, out, notes } = context;
  if (text !== undefined) {
    const node = await findNode(api, text);
    if (json) writeJson(out, node);
    else out.write(nodePage(node, out));
    return EXIT.ok;
  }
  const list = await api.get<ListView<NodeView>>('/v1/nodes');
  if (json) writeJson(out, list);
  else if (list.data.length === 0) notes.write('There is no node in the pool.\n');
  else {
    const head = ['node', 'name', 'operator', 'tier', 'model', 'state', 'free', 'tok/s', 'seen'];
    const [headLine = '', ...lines] = table([...head, 'flags'], list.data.map(nodeRow));
    out.write(`${out.style('bold', headLine)}\n`);
    for (const [index, line] of lines.entries()) {
      const usable = list.data[index] && nodeState(list.data[index]) === 'online';
      out.write(`${usable ? line : out.style('dim', line)}\n`);
    }
  }
  return EXIT.ok;
}

function nodeRow(node: NodeView): string[] {
  return [
    short(node.id),
    node.name,
    node.operator,
    String(node.tier),
    node.model,
    nodeState(node),
    `${node.slots_free} of ${node.slots_total}`,
    node.tokens_per_second.toFixed(0),
    ago(node.last_seen_at),
    String(node.flags),
  ];
}

/** One word: whether it is in the pool comes before whether it is heard of. */
export function nodeState({ status, online, ready }: NodeView): string {
  if (status !== 'active') return status;
  if (!online) return 'offline';
  return ready ? 'online' : 'not ready';
}

function speed({ tokens_per_second: measured, claimed_tokens_per_second: claimed }: NodeView) {
  const claim = `it claims ${claimed.toFixed(1)}`;
  if (measured === 0) return `not measured yet; ${claim}`;
  return `${measured.toFixed(1)} tokens per second, measured by the network; ${claim}`;
}

/** All that is known of a node, a line each. */
export function nodePage(node: NodeView, out: Terminal): string {
  const lines: [string, string][] = [
    ['Node', node.id],
    ['Name', `${node.name}, of ${node.operator}`],
    ['State', `${nodeState(node)}, last heartbeat ${ago(node.last_seen_at)}`],
    ['Tier', `${node.tier}; it claims ${node.claimed_tier}`],
    ['Model', `${node.model} on ${node.engine}`],
    ['Speed', speed(node)],
    ['Slots', `${node.slots_free} of ${node.slots_total} free`],
    ['Flags', `${node.flags} since ${node.registered_at}`],
  ];
  return lines
    .map(([name, text]) => `${out.style('bold', name.padEnd(9))}${safeText(text)}\n`)
    .join('');
}
