import { execFile } from 'node:child_process';
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import { promisify } from 'node:util';

/**
 * The machine and what runs on it, for people: name and value. Nothing of it names the machine or
 * its user.
 */
export async function environment(postgresVersion: string): Promise<[string, string][]> {
  const cli = process.env['TEMPORAL_CLI_PATH'] ?? '';
  const { stdout } = await promisify(execFile)(cli, ['--version']);
  return [
    ['processor', processor()],
    ['memory', `${(totalmem() / 2 ** 30).toFixed(0)} GiB`],
    ['system', system()],
    ['servers', `PostgreSQL ${postgresVersion}, ${stdout.trim()}`],
  ];
}

/** One sentence; to be asked for before anything is started, since the load is others' then. */
export function measuredOn(): string {
  const load = `${loadavg()[0]?.toFixed(1)} just before`;
  return `Measured on: ${processor()}; ${system()}; load average ${load}.`;
}

function processor(): string {
  return `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} cores`;
}

function system(): string {
  return `${process.platform} ${process.arch}, Node ${process.versions.node}`;
}
