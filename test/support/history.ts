import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Client } from '@temporalio/client';
import { testServers } from './servers.ts';

/** A workflow's history in Temporal's own JSON. */
export interface RecordedHistory {
  readonly events: { readonly eventType: string }[];
}

export const HISTORIES = join(import.meta.dirname, '../histories');

/** The history of a run that has ended. */
export async function historyOf(client: Client, workflowId: string): Promise<RecordedHistory> {
  await client.workflow.getHandle(workflowId).result();
  const { temporalAddress } = await testServers();
  const args = ['workflow', 'show', '-w', workflowId, '-o', 'json', '--address', temporalAddress];
  const cli = process.env['TEMPORAL_CLI_PATH'] ?? '';
  const { stdout } = await promisify(execFile)(cli, args, { maxBuffer: 64 * 1024 * 1024 });
  return JSON.parse(stdout) as RecordedHistory;
}

/** The types of its events, in order, without the common prefix. */
export function eventTypes({ events }: RecordedHistory): string[] {
  return events.map(({ eventType }) => eventType.replace('EVENT_TYPE_', ''));
}

/** Keeps a history for the replay test, when asked to by PLX_RECORD_HISTORIES=1. */
export async function record(history: RecordedHistory, name: string): Promise<void> {
  if (process.env['PLX_RECORD_HISTORIES'] !== '1') return;
  await mkdir(HISTORIES, { recursive: true });
  await writeFile(join(HISTORIES, `${name}.json`), JSON.stringify(history));
}
