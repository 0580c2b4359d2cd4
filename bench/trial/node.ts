import { DefaultLogger, Runtime } from '@temporalio/worker';
import { z } from 'zod';
import type { NodeReturn } from '../../protocol/execute.ts';
import { readConfig } from '../../workers/config.ts';
import { runRole, type RunningRole } from '../../workers/role.ts';
import { startInstantNode } from '../instant-node.ts';
import { backendOf, returner, WILLS } from './wills.ts';
import { nodeLinkEnv, openNodeLink } from '../node-link.ts';

const SLOTS = 4;

const trialNodeEnv = nodeLinkEnv.extend({
  TRIAL_NAME: z.string(),
  TRIAL_OPERATOR: z.string(),
  TRIAL_WILL: z.enum(WILLS),
});

/** One node of the trial, in a process of its own. */
async function startTrialNode(): Promise<RunningRole> {
  const config = readConfig('node of the trial', trialNodeEnv);
  const will = config.TRIAL_WILL;
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  const { keys, link } = await openNodeLink(config);
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
