import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { caSource } from '../crypto/ca.ts';
import { freePorts } from '../workers/embedded/ports.ts';
import { spawnRole, type Role } from '../workers/embedded/process.ts';
import { moduleFile } from '../workers/module-file.ts';
import type { Stops } from './own-directory.ts';

export interface PlaneOptions {
  readonly directory: string;
  /** Gets what ends each role. */
  readonly stops: Stops;
  readonly databaseUrl: string;
  readonly temporalAddress: string;
  /** The coordinator's, besides what it has anyway. */
  readonly coordinatorEnv?: Readonly<Record<string, string>>;
  /** Every role's. */
  readonly env?: Readonly<Record<string, string>>;
  /** Options of Node itself, for each role. */
  readonly nodeArgs?: (name: string) => readonly string[];
}

/** Coordinator, gateway and edge, each as a process of its own. */
export interface Plane {
  readonly gatewayUrl: string;
  /** HOST:PORT */
  readonly edgeAddress: string;
  readonly coordinator: Role;
  readonly gateway: Role;
  readonly edge: Role;
  /** Starts another role, as a node: with a directory of keys of its own. */
  spawnNode(name: string, entry: string, env: Readonly<Record<string, string>>): Promise<Role>;
}

/** Where the coordinator's keys are, in the directory of a plane. */
export function coordinatorKeys(directory: string): string {
  return join(directory, 'coordinator-keys');
}

/** Starts the roles of a network that aren't nodes, over servers that run. */
export async function startPlane(options: PlaneOptions): Promise<Plane> {
  const { directory, stops, nodeArgs = () => [] } = options;
  const ports = (await freePorts(3)).map(String) as [string, string, string];
  const [coordinatorPort, gatewayPort, edgePort] = ports;
  const edgeAddress = `127.0.0.1:${edgePort}`;
  const edgeCa = join(directory, 'edge-ca.pem');
  const shared = {
    DATABASE_URL: options.databaseUrl,
    TEMPORAL_ADDRESS: options.temporalAddress,
    PLX_COORDINATOR_URL: `http://127.0.0.1:${coordinatorPort}`,
    PLX_INTAKE_TOKEN: randomBytes(24).toString('base64url'),
    PLX_EDGE_TOKEN: randomBytes(24).toString('base64url'),
    PLX_EDGE_ADDRESS: edgeAddress,
    PLX_EDGE_CA: edgeCa,
    ...options.env,
  };
  const spawn = async (name: string, entry: string, env: Readonly<Record<string, string>>) => {
    const role = await spawnRole({
      name,
      entry,
      env: { ...shared, ...env },
      nodeArgs: nodeArgs(name),
      logFile: join(directory, 'logs', `${name}.log`),
    });
    stops.push(() => role.stop());
    return role;
  };
  const entryOf = (name: string) => moduleFile(`../workers/${name}`, import.meta.url);
  const coordinator = await spawn('coordinator', entryOf('coordinator'), {
    PLX_COORDINATOR_PORT: coordinatorPort,
    PLX_COORDINATOR_KEYS: coordinatorKeys(directory),
    ...options.coordinatorEnv,
  });
  const gateway = await spawn('gateway', entryOf('gateway'), {
    PLX_GATEWAY_PORT: gatewayPort,
    PLX_GATEWAY_KEYS: join(directory, 'gateway-keys'),
  });
  const edge = await spawn('edge', entryOf('edge'), {
    PLX_EDGE_PORT: edgePort,
    PLX_EDGE_KEYS: join(directory, 'edge-keys'),
    PLX_BLOB_DIR: join(directory, 'blobs'),
  });
  const ca = await caSource({ directory: coordinatorKeys(directory) })();
  await writeFile(edgeCa, ca.trusted);
  return {
    gatewayUrl: `http://127.0.0.1:${gatewayPort}`,
    edgeAddress,
    coordinator,
    gateway,
    edge,
    spawnNode: (name, entry, env) =>
      spawn(name, entry, { PLX_NODE_KEYS: join(directory, `${name}-keys`), ...env }),
  };
}
