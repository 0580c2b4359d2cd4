import type { Findings } from './findings.ts';

/** The findings as Markdown. */
export function renderTrial({ requests, states, outcomes, wrong, rightRefunded, nodes }: Findings) {
  const counts = (of: Readonly<Record<string, number>>) =>
    Object.entries(of)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, count]) => `${name} ${count}`)
      .join(', ');
  return [
    '| Node | Will | Attempts | Agreed | Outvoted | Bad proofs | Removed for | After attempts |',
    '| --- | --- | --: | --: | --: | --: | --- | --: |',
    ...nodes.map((node) =>
      [
        '',
        node.name,
        node.will,
        node.attempts,
        node.agreed,
        node.outvoted,
        node.badProofs,
        node.removedFor ?? '–',
        node.attemptsUntilRemoved ?? '–',
        '',
      ]
        .join(' | ')
        .trim(),
    ),
    '',
    `Requests: ${requests}: ${counts(states)}. Checks: ${counts(outcomes)}.`,
    '',
    `Wrong answers delivered: ${wrong.delivered}. Found by a check, and free: ` +
      `${wrong.foundByCheck}. Never checked, refunded when the node was removed: ` +
      `${wrong.refunded}. Paid for: ${wrong.unaccounted.length}.`,
    '',
    `Right answers refunded with them, since nobody can tell: ${rightRefunded}.`,
  ].join('\n');
}
