import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { freePorts } from '../../workers/embedded/ports.ts';
import { spawnRole, type Role } from '../../workers/embedded/process.ts';
import { moduleFile } from '../../workers/module-file.ts';
import type { Stops } from '../own-directory.ts';

export interface WaysOptions {
  readonly directory: string;
  /** Gets what ends each process. */
  readonly stops: Stops;
  /** The one that the relay lets in. */
  readonly apiKey: string;
  /** How the backend answers, in milliseconds. */
  readonly firstTokenMs: number;
  readonly tokenMs: number;
  /** Options of Node itself, for each process; none by default. */
  readonly nodeArgs?: (name: string) => readonly string[];
}

/** A backend, and the ways to it that aren't ours. */
export interface Ways {
  readonly backendUrl: string;
  readonly relayUrl: string;
  readonly backend: Role;
  readonly relay: Role;
}

/** Starts a backend at the pace of a real one and a plain relay before it, as processes. */
export async function startWays(options: WaysOptions): Promise<Ways> {
  const { directory, stops, apiKey, nodeArgs = () => [] } = options;
  const [backendPort = 0, relayPort = 0] = await freePorts(2);
  const spawn = async (name: string, env: Readonly<Record<string, string>>) => {
    const role = await spawnRole({
      name,
      entry: moduleFile(`./${name}`, import.meta.url),
      env,
      nodeArgs: nodeArgs(name),
      logFile: join(directory, 'logs', `${name}.log`),
    });
    stops.push(() => role.stop());
    return role;
  };
  const backend = await spawn('backend', {
    BENCH_PORT: String(backendPort),
    BENCH_FIRST_TOKEN_MS: String(options.firstTokenMs),
    BENCH_TOKEN_MS: String(options.tokenMs),
  });
  const relay = await spawn('relay', {
    BENCH_PORT: String(relayPort),
    BENCH_BACKEND_PORT: String(backendPort),
    BENCH_KEY_HASH: createHash('sha256').update(apiKey).digest('hex'),
  });
  return {
    backendUrl: `http://127.0.0.1:${backendPort}`,
    relayUrl: `http://127.0.0.1:${relayPort}`,
    backend,
    relay,
  };
}
