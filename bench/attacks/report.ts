import { isRepelled, outcomeOf, type Attack, type Told } from './attack.ts';

/** What became of one attack. */
export interface Trial {
  readonly attack: Attack;
  /** Null when it couldn't be tried. */
  readonly told: Told | null;
}

/**
 * Whether an attack got something. On a network that gives the stranger no work of callers it may
 * be refused sooner than in tests, by another code.
 */
export function succeeded({ attack, told }: Trial): boolean {
  return told !== null && told.code === null && !isRepelled(attack, told);
}

/** The trials as a Markdown table, with a count below it. */
export function renderTrials(trials: readonly Trial[]): string {
  const rows = trials.map((trial) => {
    const { attack, told } = trial;
    const heard = told === null ? '–' : saying(told);
    const verdict = told === null ? 'not tried' : succeeded(trial) ? '**SUCCEEDED**' : 'repelled';
    return `| ${attack.group} | ${attack.name} | ${heard} | ${verdict} |`;
  });
  const tried = trials.filter(({ told }) => told !== null).length;
  const holes = trials.filter(succeeded).length;
  return [
    '| | Attack | It was told | Verdict |',
    '| --- | --- | --- | --- |',
    ...rows,
    '',
    `${tried} attacks tried, ${holes} succeeded, ${trials.length - tried} not tried.`,
  ].join('\n');
}

function saying(told: Told): string {
  const outcome = outcomeOf(told);
  if (told.code !== null) return `${told.status} \`${told.code}\``;
  if (outcome === 'over') return 'that the task is over';
  if (outcome === 'accepted') return 'yes, which changes nothing';
  return outcome === 'closed' ? 'nothing: the connection was closed' : told.status;
}
