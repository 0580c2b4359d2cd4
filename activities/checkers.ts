import { sql, type Database } from '../prisma/client.ts';
import type { ScheduleInput } from './schedule.ts';

/** In which order nodes are asked to check: 64 hex digits that no node can know (design §7). */
export type CheckerOrder = string;

/** What a node has to be that checks an attempt. */
export interface CheckRequirements {
  /** Operators that have a vote already. */
  readonly usedOperators: readonly string[];
  /** Equivalence class that it has to be of; null for any. */
  readonly engine: string | null;
  readonly order: CheckerOrder;
}

/** Part of a statement: another operator's, of the equivalence class; for what is no check, any. */
export function independent(check: CheckRequirements | undefined) {
  if (!check) return sql``;
  return sql`AND NOT (operator_id = ANY (${[...check.usedOperators]}::text[]))
    AND (${check.engine}::text IS NULL OR engine = ${check.engine})`;
}

/** Whether there is a node that could check the unit, though it may be busy now. */
export async function couldCheck(
  database: Database,
  { usedNodes, request }: ScheduleInput,
  check: CheckRequirements,
): Promise<boolean> {
  const { parameters, modelDigest, complexity } = request;
  const [row] = await database.$queryRaw<{ could: boolean }[]>`
    SELECT EXISTS (
      SELECT FROM node
      WHERE status IN ('active', 'probing') AND is_ready AND is_online
        AND model_digest = ${modelDigest}
        AND features @> ${[...(parameters.features ?? [])]}::text[]
        AND tier >= ${parameters.hardwareTier}
        AND ${parameters.workloadClass} = ANY (workload_classes)
        AND NOT (id = ANY (${[...usedNodes]}::text[])) ${independent(check)}
        AND tokens_per_second * ${parameters.deadlineSeconds}::float8 >= ${complexity}::float8)
      AS could`;
  return row?.could ?? false;
}
