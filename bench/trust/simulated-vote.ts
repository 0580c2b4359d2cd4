import { decideVote } from '../../protocol/vote.ts';

/** How a check ended, by the code that decides it in the coordinator. */
export interface SimulatedVote {
  readonly outcome: string;
  /** Results that were compared, the first one included. */
  readonly votes: number;
}

/**
 * Asks for results until the vote is decided, at most three.
 *
 * @param results the first one, then those of whoever checks, in turn. Equal ones agree.
 */
export function simulateVote(results: () => string): SimulatedVote {
  const votes = [results()];
  for (;;) {
    const agrees = votes.map((a) => votes.map((b) => a === b));
    const decision = decideVote(agrees, false);
    if (decision.kind === 'decided') return { outcome: decision.outcome, votes: votes.length };
    votes.push(results());
  }
}
