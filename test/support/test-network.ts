import { startNetwork, type Network } from '../../workers/embedded/network.ts';
import { freePort } from './servers.ts';

/**
 * The network of `npm start`, with three nodes of two operators, on ports of its own.
 *
 * @param onExit told of each part that ended by itself.
 */
export async function startTestNetwork(
  dataDir: string,
  onExit: (part: string) => void = () => {},
): Promise<Network> {
  return startNetwork({
    dataDir,
    ports: {
      gateway: await freePort(),
      coordinator: await freePort(),
      postgres: await freePort(),
      temporal: await freePort(),
      temporalUi: await freePort(),
      edge: await freePort(),
    },
    temporalCliPath: process.env['TEMPORAL_CLI_PATH'] ?? '',
    modelPath: process.env['MODEL_PATH'] ?? '',
    nodes: [
      { name: 'node-1', operator: 'operator-a', tier: 1 },
      { name: 'node-2', operator: 'operator-b', tier: 2 },
      { name: 'node-3', operator: 'operator-a', tier: 3 },
    ],
    onProgress: () => {},
    onExit,
  });
}
