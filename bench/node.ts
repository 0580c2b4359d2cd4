import { webcrypto } from 'node:crypto';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { z } from 'zod';
import { exportSpki, type NodeKeys } from '../crypto/keys.ts';
import { signProof } from '../crypto/prove.ts';
import { readConfig } from '../workers/config.ts';
import { runRole, type RunningRole } from '../workers/role.ts';
import type { FloorActivities } from './floor-workflows.ts';
import { INSTANT_MODEL, instantBackend } from './instant-backend.ts';
import { startInstantNode } from './instant-node.ts';
import { nodeLinkEnv, openNodeLink } from './node-link.ts';

const { subtle } = webcrypto;

const benchNodeEnv = nodeLinkEnv.extend({
  TEMPORAL_ADDRESS: z.string(),
  BENCH_OPERATOR: z.string(),
  BENCH_TIER: z.coerce.number(),
  BENCH_SLOTS: z.coerce.number(),
  BENCH_MODEL: z.string().default(INSTANT_MODEL.id),
  /** How it reaches Temporal: as nodes do, or as none can, to compare with. */
  BENCH_WAY: z.enum(['edge', 'direct']).default('edge'),
});

/** One process with both: a real node over an instant backend, and the floor's activities. */
async function startBenchNode(): Promise<RunningRole> {
  const config = readConfig('bench node', benchNodeEnv);
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  const { keys, link } = await openNodeLink(config);
  const instant = instantBackend({ slots: config.BENCH_SLOTS });
  const backend = { ...instant, model: { ...instant.model, id: config.BENCH_MODEL } };
  const connection = await NativeConnection.connect({ address: config.TEMPORAL_ADDRESS });
  const floorQueue = `floor.${keys.nodeId}`;
  const floor = await Worker.create({
    connection,
    taskQueue: floorQueue,
    activities: floorActivities(keys),
    maxConcurrentActivityTaskExecutions: backend.slots,
    maxConcurrentActivityTaskPolls: 1,
  });
  const node = await startInstantNode({
    link,
    ...(config.BENCH_WAY === 'direct' ? { connection } : {}),
    keys,
    backend,
    name: 'bench',
    operatorId: config.BENCH_OPERATOR,
    tier: config.BENCH_TIER,
  });
  const running = floor.run();
  const publicKey = exportSpki(keys.encryption.publicKey).toString('base64');
  return {
    ready: { floorQueue, publicKey },
    async stop() {
      await node.stop();
      floor.shutdown();
      await running;
      await link.close();
      await connection.close();
    },
  };
}

/** Of the right length; what it commits to doesn't matter here. */
const POE = '0'.repeat(64);

function floorActivities({ encryption, signing }: NodeKeys): FloorActivities {
  const der = encryption.privateKey.export({ format: 'der', type: 'pkcs8' });
  const algorithm = { name: 'RSA-OAEP', hash: 'SHA-256' };
  const decryptionKey = subtle.importKey('pkcs8', der, algorithm, false, ['decrypt']);
  return {
    plain: async ({ payload }) => payload,
    // Both off the event loop, as in the product.
    async rsa({ encryptedKey, payload }) {
      const contentKey = await subtle.decrypt(
        'RSA-OAEP',
        await decryptionKey,
        Buffer.from(encryptedKey, 'base64'),
      );
      const bytes = Buffer.concat([Buffer.from(contentKey), Buffer.from(payload)]);
      const signature = await signProof(signing.privateKey, bytes, POE);
      return payload.slice(signature.length) + signature;
    },
  };
}

await runRole(startBenchNode);
