import type { Api } from './api.ts';
import {
  auditDraw,
  auditEpochs,
  periodsOf,
  policyOf,
  Tally,
  type Committed,
} from './audit-checks.ts';
import { writeJson, type Context } from './context.ts';
import { CliError, EXIT, type ExitCode } from './errors.ts';
import { table } from './format.ts';
import { safeText } from './terminal.ts';
import type { DrawsView, EpochView, ListView } from './views.ts';

export interface AuditOptions {
  readonly epoch?: number;
}

const PAGE = 1_000;

interface AuditedEpoch {
  readonly epoch: number;
  readonly draws: number;
  readonly sampled: number;
  readonly expected: number;
  /** Of the sampled ones, by how their checks ended. */
  readonly outcomes: Readonly<Record<string, number>>;
  readonly mismatches: readonly string[];
}

interface Audit {
  /** Whose draws these are: all, or those of the key's account. */
  readonly scope: DrawsView['scope'] | null;
  readonly published: number;
  readonly revealed: number;
  readonly epochs: readonly AuditedEpoch[];
  readonly mismatches: readonly string[];
}

/** `prlx audit sampling`: recomputes what was drawn, and compares it with what was published. */
export async function auditSampling(context: Context, options: AuditOptions): Promise<ExitCode> {
  const { api, json, out } = context;
  const audit = await auditOf(api, options.epoch);
  if (json) writeJson(out, audit);
  else report(context, audit);
  return audit.mismatches.length === 0 ? EXIT.ok : EXIT.failed;
}

async function auditOf(api: Api, only: number | undefined): Promise<Audit> {
  const epochs = await allEpochs(api);
  if (epochs.length === 0)
    throw new CliError(EXIT.notFound, 'cli.not_found', `${api.url} has published no epoch yet.`);
  const isAskedFor = ({ epoch, secret }: EpochView) =>
    only === undefined ? secret !== null : epoch === only;
  const asked = epochs.filter(isAskedFor);
  if (asked.length === 0 && only !== undefined)
    throw new CliError(EXIT.notFound, 'cli.not_found', `Epoch ${only} was not published.`);
  const audited: AuditedEpoch[] = [];
  const total = new Tally();
  const periods = periodsOf(epochs);
  let scope: Audit['scope'] = null;
  for (const epoch of asked.toReversed()) {
    const period = periods.get(epoch.epoch) ?? [0, 0];
    const one = await auditEpoch(api, epoch, period, total);
    ({ scope } = one);
    audited.push(one.audited);
  }
  const share = total.isUnlikely()
    ? [`${total.sampled} of ${total.draws} were sampled, which is not by chance`]
    : [];
  const mismatches = [
    ...auditEpochs(epochs, Date.now()),
    ...audited.flatMap((each) => each.mismatches),
    ...share,
  ];
  const revealed = epochs.filter(({ secret }) => secret !== null).length;
  return { scope, published: epochs.length, revealed, epochs: audited, mismatches };
}

async function auditEpoch(
  api: Api,
  epoch: EpochView,
  period: Committed['period'],
  total: Tally,
): Promise<{ readonly scope: DrawsView['scope']; readonly audited: AuditedEpoch }> {
  const tally = new Tally();
  const mismatches: string[] = [];
  const committed = { secret: epoch.secret ?? '', policy: policyOf(epoch), period };
  for (let after = ''; ;) {
    const path = `/v1/sampling/draws?epoch=${epoch.epoch}&limit=${PAGE}${after}`;
    const page = await api.get<DrawsView>(path);
    for (const draw of page.data) {
      tally.add(draw);
      total.add(draw);
      const faults = auditDraw(draw, committed);
      const at = `epoch ${epoch.epoch}, ${draw.unit_id}, attempt ${draw.dispatch}`;
      mismatches.push(...faults.map((fault) => `${at}: ${fault}`));
    }
    if (page.next === null) {
      const { draws, sampled, expected, outcomes } = tally;
      const counts = { draws, sampled, expected, outcomes };
      return { scope: page.scope, audited: { epoch: epoch.epoch, ...counts, mismatches } };
    }
    after = `&after=${encodeURIComponent(page.next)}`;
  }
}

/** Latest first. */
async function allEpochs(api: Api): Promise<EpochView[]> {
  const epochs: EpochView[] = [];
  for (let before = ''; ;) {
    const path = `/v1/sampling/epochs?limit=${PAGE}${before}`;
    const page = await api.get<ListView<EpochView>>(path);
    epochs.push(...page.data);
    const last = page.data.at(-1);
    if (!page.has_more || !last) return epochs;
    before = `&before=${last.epoch}`;
  }
}

function report({ out, notes }: Context, audit: Audit): void {
  const { epochs, mismatches, published, revealed } = audit;
  out.write(`${published} epochs were published, and the secrets of ${revealed} are revealed.\n`);
  if (audit.scope === 'account')
    notes.write('These are the draws of this account alone; an admin key sees all.\n');
  const drawn = epochs.filter(({ draws }) => draws > 0);
  if (drawn.length > 0) {
    const head = ['epoch', 'draws', 'sampled', 'expected', 'how the checks ended'];
    const [headLine = '', ...lines] = table(head, drawn.map(epochRow));
    out.write(`\n${out.style('bold', headLine)}\n${lines.map((line) => `${line}\n`).join('')}\n`);
  }
  if (mismatches.length > 0) {
    for (const line of mismatches) out.write(`${out.style('red', safeText(line))}\n`);
    out.write(`\n${mismatches.length} ${mismatches.length === 1 ? 'mismatch' : 'mismatches'}.\n`);
    return;
  }
  const draws = epochs.reduce((sum, each) => sum + each.draws, 0);
  out.write(
    draws > 0
      ? `All ${draws} draws were recomputed, and are what was published.\n`
      : 'What was published fits together; there was no draw to recompute yet.\n',
  );
}

function epochRow({ epoch, draws, sampled, expected, outcomes }: AuditedEpoch): string[] {
  const ended = Object.entries(outcomes).map(([name, count]) => `${count} ${name}`);
  return [
    String(epoch),
    String(draws),
    String(sampled),
    expected.toFixed(1),
    ended.join(', ').replaceAll('_', ' '),
  ];
}
