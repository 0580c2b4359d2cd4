import { readFile } from 'node:fs/promises';
import { DefaultLogger, Runtime } from '@temporalio/worker';
import { z } from 'zod';
import { loadOrCreateNodeKeys } from '../../crypto/key-files.ts';
import { openEdgeLink } from '../../nodes/edge-link.ts';
import type { NodeReturn } from '../../protocol/execute.ts';
import { readConfig } from '../../workers/config.ts';
import { runRole, type RunningRole } from '../../workers/role.ts';
import { startInstantNode } from '../instant-node.ts';
import { backendOf, returner, WILLS } from './wills.ts';

const SLOTS = 4;

const trialNodeEnv = z.object({
  PLX_EDGE_ADDRESS: z.string(),
  PLX_EDGE_CA: z.string(),
  PLX_NODE_KEYS: z.string(),
  TRIAL_NAME: z.string(),
  TRIAL_OPERATOR: z.string(),
  TRIAL_WILL: z.enum(WILLS),
});

/** One node of the trial, in a process of its own. */
async function startTrialNode(): Promise<RunningRole> {
  const config = readConfig('node of the trial', trialNodeEnv);
  const will = config.TRIAL_WILL;
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  const keys = await loadOrCreateNodeKeys(config.PLX_NODE_KEYS);
  const link = await openEdgeLink({
    address: config.PLX_EDGE_ADDRESS,
    ca: await readFile(config.PLX_EDGE_CA, 'utf8'),
    directory: config.PLX_NODE_KEYS,
    keys,
    log: { info: () => {}, warn: () => {} },
  });
  const backend = backendOf(will, keys, SLOTS);
  const returned = returner(will);
  // It answers its canary honestly: liars would, since they can tell it from work today.
  let isProbed = false;
  const node = await startInstantNode({
    link,
    keys,
    name: config.TRIAL_NAME,
    tier: 1,
    backend,
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
      await link.close();
    },
  };
}

await runRole(startTrialNode);
