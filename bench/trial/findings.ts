import type { Answer } from './trial.ts';
import type { TrialNetwork, TrialNode } from './network.ts';
import { isHonest } from './wills.ts';

/** What became of one node. */
export interface NodeFindings extends TrialNode {
  readonly status: string;
  /** Why it was removed, by a code; null if it wasn't. */
  readonly removedFor: string | null;
  readonly attempts: number;
  /** Of its votes that were decided. */
  readonly agreed: number;
  readonly outvoted: number;
  readonly badProofs: number;
  /** Attempts it had been given when it was removed. */
  readonly attemptsUntilRemoved: number | null;
}

/** What became of wrong answers that were delivered. */
export interface WrongAnswers {
  readonly delivered: number;
  /** A check found it: the request is invalidated, or has no majority; free either way. */
  readonly foundByCheck: number;
  /** Nobody checked it; it was given back when its node was removed. */
  readonly refunded: number;
  /** Ids of those that somebody paid for. */
  readonly unaccounted: readonly string[];
}

export interface Findings {
  readonly requests: number;
  readonly states: Readonly<Record<string, number>>;
  readonly outcomes: Readonly<Record<string, number>>;
  /** Right answers that were given back, since nobody could know. */
  readonly rightRefunded: number;
  readonly wrong: WrongAnswers;
  readonly nodes: readonly NodeFindings[];
  /** Σ of all balances of the ledger, in wei; and what is still reserved. */
  readonly ledgerSumWei: bigint;
  readonly reservedWei: bigint;
}

/** Reads what became of a trial whose requests have all ended. */
export async function readFindings(
  { database, nodes }: TrialNetwork,
  answers: readonly Answer[],
): Promise<Findings> {
  const requests = await database.request.findMany({
    select: { id: true, status: true, chargedWei: true, refundedWei: true },
  });
  const states = await database.request.groupBy({ by: ['status'], _count: true });
  const verifications = await database.verification.groupBy({ by: ['outcome'], _count: true });
  const wrongIds = new Set(answers.filter(({ isRight }) => isRight === false).map(({ id }) => id));
  const wrong = requests.filter(({ id }) => wrongIds.has(id));
  const isFree = (request: (typeof requests)[number]) =>
    request.chargedWei.minus(request.refundedWei).isZero();
  const wasRefunded = (request: (typeof requests)[number]) => !request.refundedWei.isZero();
  const balances = await database.ledgerAccount.findMany();
  const sum = (rows: typeof balances) =>
    rows.reduce((total, { balanceWei }) => total + BigInt(balanceWei.toFixed(0)), 0n);
  return {
    requests: requests.length,
    states: Object.fromEntries(states.map(({ status, _count }) => [status, _count])),
    outcomes: Object.fromEntries(verifications.map(({ outcome, _count }) => [outcome, _count])),
    rightRefunded: requests.filter((it) => !wrongIds.has(it.id) && wasRefunded(it)).length,
    wrong: {
      delivered: wrong.length,
      foundByCheck: wrong.filter((it) => isFree(it) && !wasRefunded(it)).length,
      refunded: wrong.filter(wasRefunded).length,
      unaccounted: wrong.filter((it) => !isFree(it)).map(({ id }) => id),
    },
    nodes: await Promise.all(nodes.map((node) => findNode(database, node))),
    ledgerSumWei: sum(balances),
    reservedWei: sum(balances.filter(({ id }) => id.endsWith(':reserved'))),
  };
}

async function findNode(
  database: TrialNetwork['database'],
  node: TrialNode,
): Promise<NodeFindings> {
  const { nodeId } = node;
  const [row, removal, attempts, votes, badProofs] = await Promise.all([
    database.node.findUniqueOrThrow({ where: { id: nodeId } }),
    database.nodeReview.findFirst({ where: { nodeId, decision: 'removed' } }),
    database.dispatch.count({ where: { nodeId } }),
    database.vote.findMany({ where: { nodeId } }),
    database.nodeEvent.count({ where: { nodeId, code: { startsWith: 'poe.' } } }),
  ]);
  const on = (side: string) => votes.filter((each) => each.side === side).length;
  const before = removal && {
    nodeId,
    reservedAt: { lte: removal.createdAt },
  };
  return {
    ...node,
    status: row.status,
    removedFor: removal?.code ?? null,
    attempts,
    agreed: on('majority'),
    outvoted: on('minority'),
    badProofs,
    attemptsUntilRemoved: before ? await database.dispatch.count({ where: before }) : null,
  };
}

/** What the trial has to show; a sentence for each thing that it doesn't. */
export function faults({ nodes, wrong, ledgerSumWei, reservedWei }: Findings): string[] {
  return [
    ...nodes
      .filter(({ will, removedFor }) => !isHonest(will) && removedFor === null)
      .map(({ name, will }) => `${name} (${will}) is still in the pool`),
    ...nodes
      .filter(({ will, removedFor }) => isHonest(will) && removedFor !== null)
      .map(({ name, removedFor }) => `${name} is honest, and was removed: ${removedFor}`),
    ...wrong.unaccounted.map((id) => `${id} was answered wrongly, and paid for`),
    ...(wrong.delivered === 0 ? ['no wrong answer was delivered: nothing was tried'] : []),
    ...(ledgerSumWei === 0n ? [] : [`the ledger's balances add up to ${ledgerSumWei} wei`]),
    ...(reservedWei === 0n ? [] : [`${reservedWei} wei are still reserved`]),
  ];
}
