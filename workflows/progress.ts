import { setCurrentDetails } from '@temporalio/workflow';
import { shortId } from '../protocol/ids.ts';
import { STEPS, unseenStep, type StepName, type StepRecord } from '../protocol/lifecycle.ts';
import type { AcceptedInference } from '../protocol/receive.ts';
import { WORKLOAD_CLASSES } from '../protocol/workload.ts';

type Extra = Pick<StepRecord, 'dispatch' | 'node' | 'note'>;

/** What an attempt tells of its steps. */
export type StepProgress = Pick<Progress, 'running' | 'waiting' | 'done' | 'failed' | 'stopped'>;

/** Of attempts that check another one: the steps that are shown are those of the checked one. */
export const UNSEEN: StepProgress = {
  running() {},
  waiting() {},
  done() {},
  failed() {},
  stopped() {},
};

/**
 * The nine steps of one request as Temporal UI shows them: Markdown in the workflow's current
 * details. Setting it costs no history event. No payload and no secret ever goes in.
 */
export class Progress {
  readonly #request: AcceptedInference;
  readonly #records = new Map<StepName, StepRecord>();
  /** Attempts that failed, kept because a later attempt overwrites its steps' records. */
  readonly #lost: StepRecord[] = [];

  constructor(request: AcceptedInference) {
    this.#request = request;
  }

  done(step: StepName, elapsedMs: number, extra: Extra = {}): void {
    this.#set({ step, state: 'done', elapsedMs, ...extra });
  }

  skipped(step: StepName): void {
    this.#set({ step, state: 'skipped', note: this.#path() });
  }

  running(step: StepName, extra: Extra = {}): void {
    this.#set({ step, state: 'running', ...extra });
  }

  waiting(step: StepName, extra: Extra = {}): void {
    this.#set({ step, state: 'waiting', ...extra });
  }

  failed(step: StepName, extra: Extra): void {
    const record: StepRecord = { step, state: 'failed', ...extra };
    this.#lost.push(record);
    this.#set(record);
  }

  /** The unit was given up: a step in the middle of which that happened doesn't go on. */
  stopped(note: string): void {
    for (const record of this.#records.values())
      if (record.state === 'running' || record.state === 'waiting')
        this.#set({ ...record, state: 'failed', note });
  }

  /** One record per step, in canonical order, and before them the attempts that were lost. */
  records(): StepRecord[] {
    const last = STEPS.map(({ name }) => this.#records.get(name) ?? this.#unseen(name));
    return [...this.#lost.filter((record) => this.#records.get(record.step) !== record), ...last];
  }

  #unseen(step: StepName): StepRecord {
    return unseenStep(step, this.#path());
  }

  #path() {
    return WORKLOAD_CLASSES[this.#request.parameters.workloadClass].path;
  }

  #set(record: StepRecord): void {
    this.#records.set(record.step, record);
    setCurrentDetails(this.#markdown());
  }

  #markdown(): string {
    const { requestId, parameters } = this.#request;
    const rows = STEPS.map(({ number, name, title, plane }) => {
      const record = this.#records.get(name) ?? this.#unseen(name);
      const parts = [
        `${number}. **${title}**`,
        stateText(record),
        ...(record.elapsedMs === undefined ? [] : [`${record.elapsedMs.toFixed(1)} ms`]),
        ...(record.node ? [shortId(record.node)] : []),
        `_${plane} plane_`,
      ];
      return parts.join(' · ');
    });
    const lost = this.#lost.map(
      ({ step, dispatch, node, note }) =>
        `- attempt ${dispatch ?? '–'}${node ? ` on ${shortId(node)}` : ''}, ${step}: \`${note}\``,
    );
    return [
      `**${requestId}** · ${parameters.workloadClass} · ${parameters.model}`,
      '',
      ...rows,
      ...(lost.length > 0 ? ['', ...lost] : []),
    ].join('\n');
  }
}

function stateText(record: StepRecord): string {
  const note = record.note ? `: ${record.note}` : '';
  const text = `${record.state}${note}`;
  return record.state === 'failed' ? `**${text}**` : text;
}
