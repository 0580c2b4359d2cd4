import { z } from 'zod';
import { isUnitId, type UnitId } from './ids.ts';

/** Between two lines to a node that there is no command for. */
export const COMMAND_PING_MS = 10_000;
/** A longer line is no command. */
export const COMMAND_CHARACTERS_MAX = 4_096;

/** What a coordinator tells a node on the stream that the node holds open: one JSON a line. */
const nodeCommandSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ping') }),
  z.object({
    type: z.literal('cancel'),
    unitId: z.custom<UnitId>(isUnitId),
    dispatch: z.int().min(1).max(0xffff_ffff),
  }),
]);

export type NodeCommand = z.infer<typeof nodeCommandSchema>;

/** @returns null for anything else: a newer coordinator may know commands that a node doesn't. */
export function parseCommand(line: string): NodeCommand | null {
  try {
    return nodeCommandSchema.safeParse(JSON.parse(line)).data ?? null;
  } catch {
    return null;
  }
}
