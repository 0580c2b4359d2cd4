import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import { z } from 'zod';
import { generateNodeKeys } from '../../crypto/keys.ts';
import type { NodeReturn } from '../../protocol/execute.ts';
import { readConfig } from '../../workers/config.ts';
import { runRole, type RunningRole } from '../../workers/role.ts';
import { startInstantNode } from '../instant-node.ts';
import { backendOf, returner, WILLS } from './wills.ts';

const SLOTS = 4;

const trialNodeEnv = z.object({
  TEMPORAL_ADDRESS: z.string(),
  PLX_COORDINATOR_URL: z.string(),
  TRIAL_NAME: z.string(),
  TRIAL_OPERATOR: z.string(),
  TRIAL_WILL: z.enum(WILLS),
});

/** One node of the trial, in a process of its own. */
async function startTrialNode(): Promise<RunningRole> {
  const config = readConfig('node of the trial', trialNodeEnv);
  const will = config.TRIAL_WILL;
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  const keys = await generateNodeKeys();
  const connection = await NativeConnection.connect({ address: config.TEMPORAL_ADDRESS });
  const backend = backendOf(will, keys, SLOTS);
  const returned = returner(will);
  // It answers its canary honestly: liars would, since they can tell it from work today.
  let isProbed = false;
  const node = await startInstantNode({
    connection,
    keys,
    name: config.TRIAL_NAME,
    tier: 1,
    backend,
    coordinatorUrl: config.PLX_COORDINATOR_URL,
    operatorId: config.TRIAL_OPERATOR,
    async behave(honest, input, returnKey) {
      const result = (await honest()) as NodeReturn;
      if (isProbed) return returned(result, { keys, input, returnKey });
      isProbed = true;
      return result;
    },
  });
  return {
    ready: { nodeId: keys.nodeId },
    async stop() {
      await node.stop();
      await connection.close();
    },
  };
}

await runRole(startTrialNode);
