import { setTimeout as sleep } from 'node:timers/promises';
import { INSTANT_MODEL } from '../instant-backend.ts';
import { readFindings, type Findings } from './findings.ts';
import { startTrialNetwork, type TrialNetwork } from './network.ts';
import { isHonest, WILLS, type Will } from './wills.ts';

export interface TrialPlan {
  readonly requests: number;
  /**
   * Which node gets which request is chance, so a liar may have had too few to be found out by
   * then: more are sent while one is in the pool, up to so many in all.
   */
  readonly requestsMax: number;
  readonly inFlight: number;
  readonly wills: readonly Will[];
  readonly samplingRate: number;
}

/** As issued to the network's users: a fourth of the nodes are liars, each in its own way. */
export const PLAN: TrialPlan = {
  requests: 3_000,
  requestsMax: 6_000,
  inFlight: 24,
  wills: [
    ...Array<Will>(4).fill('honest'),
    'wrong hash',
    ...Array<Will>(3).fill('honest'),
    'wrong once it is trusted',
    ...Array<Will>(2).fill('honest'),
    'wrong one time in ten',
  ],
  samplingRate: 0.5,
};

/** One of each kind that shows at once, and enough honest nodes for votes to be decided. */
export const ALL_KINDS: TrialPlan = {
  ...PLAN,
  requests: 400,
  requestsMax: 1_600,
  wills: [
    ...Array<Will>(10).fill('honest'),
    ...WILLS.filter((will) => !will.startsWith('wrong o') && will !== 'honest'),
  ],
};

/** Until the last request has ended, and what has to be given back was. */
const SETTLED_MS_MAX = 120_000;

/** A request of the trial, as its caller saw it. */
export interface Answer {
  readonly id: string;
  /** Whether an answer came, and whether it is the right one; null when none came. */
  readonly isRight: boolean | null;
}

/**
 * Sends that many requests through a network of real processes in which some nodes lie, and reads
 * from its records what became of it.
 *
 * @param onProgress told how many requests were answered.
 */
export async function runTrial(
  plan: TrialPlan,
  onProgress: (answered: number) => void,
): Promise<Findings> {
  const network = await startTrialNetwork(plan.wills, plan.samplingRate);
  try {
    const answers: Answer[] = [];
    let begun = 0;
    const goesOn = async () =>
      begun < plan.requests || (begun < plan.requestsMax && (await hasLiars(network)));
    const lane = async () => {
      while (await goesOn()) {
        answers.push(await ask(network, ++begun));
        onProgress(answers.length);
      }
    };
    await Promise.all(Array.from({ length: plan.inFlight }, lane));
    await settled(network);
    return await readFindings(network, answers);
  } finally {
    await network.stop();
  }
}

async function hasLiars({ database, nodes }: TrialNetwork): Promise<boolean> {
  const liars = nodes.filter(({ will }) => !isHonest(will)).map(({ nodeId }) => nodeId);
  const left = { id: { in: liars }, status: { not: 'removed' } };
  return (await database.node.count({ where: left })) > 0;
}

async function ask({ gatewayUrl, apiKey }: TrialNetwork, number: number): Promise<Answer> {
  const question = `this is number ${number} of many`;
  const response = await fetch(`${gatewayUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: question }],
      max_tokens: 16,
    }),
  });
  const id = response.headers.get('x-request-id');
  if (id === null) throw new Error(`refused: ${await response.text()}`);
  const body = (await response.json()) as { choices?: { message: { content: string } }[] };
  const text = body.choices?.[0]?.message.content;
  return { id, isRight: text === undefined ? null : text === question };
}

async function settled({ database }: TrialNetwork): Promise<void> {
  const untilMs = Date.now() + SETTLED_MS_MAX;
  for (;;) {
    const open = await database.request.count({ where: { finishedAt: null } });
    const owed = await database.node.count({ where: { refundSince: { not: null } } });
    if (open === 0 && owed === 0) return;
    if (Date.now() > untilMs)
      throw new Error(`${open} requests have not ended, ${owed} nodes have refunds to come`);
    await sleep(500);
  }
}
