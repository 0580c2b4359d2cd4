import { constants, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Client } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import fastify from 'fastify';
import { z } from 'zod';
import { readConfig } from '../workers/config.ts';
import { runRole, type RunningRole } from '../workers/role.ts';
import type { FloorInput, oneActivity } from './floor-workflows.ts';
import { closedLoop } from './load.ts';

const FLOOR_QUEUE = 'floor';
const PAYLOAD_BYTES = 1_024;

const floorEnv = z.object({
  TEMPORAL_ADDRESS: z.string(),
  BENCH_PORT: z.coerce.number().int(),
  /** Queue and public encryption key (SPKI, base64) of the node. */
  BENCH_NODE_QUEUE: z.string(),
  BENCH_NODE_KEY: z.string(),
});

const loadSchema = z.object({
  kind: z.enum(['plain', 'rsa']),
  inFlight: z.int().min(1),
  seconds: z.number().positive(),
});

/**
 * The floor's coordinator: client and workflow worker in one process on one connection with eager
 * starts, as the product's, and nothing else. It makes its own load, so not even HTTP is counted.
 */
async function startFloor(): Promise<RunningRole> {
  const config = readConfig('floor', floorEnv);
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  const connection = await NativeConnection.connect({ address: config.TEMPORAL_ADDRESS });
  const client = new Client({ connection });
  const worker = await Worker.create({
    connection,
    taskQueue: FLOOR_QUEUE,
    workflowsPath: fileURLToPath(import.meta.resolve('./floor-workflows.ts')),
    maxCachedWorkflows: 500,
  });
  const running = worker.run();
  const input = floorInput(config.BENCH_NODE_KEY);
  const app = fastify();
  let count = 0;
  app.post('/load', async (request) => {
    const { kind, inFlight, seconds } = loadSchema.parse(request.body);
    let lastId = '';
    const result = await closedLoop({ inFlight, seconds }, () => {
      lastId = `floor-${process.pid}-${++count}`;
      return client.workflow.execute<typeof oneActivity>('oneActivity', {
        workflowId: lastId,
        taskQueue: FLOOR_QUEUE,
        args: [config.BENCH_NODE_QUEUE, kind, input],
        requestEagerStart: true,
      });
    });
    const history = await client.workflow.getHandle(lastId).fetchHistory();
    return { ...result, historyEvents: history.events?.length ?? 0 };
  });
  await app.listen({ host: '127.0.0.1', port: config.BENCH_PORT });
  return {
    ready: {},
    async stop() {
      await app.close();
      worker.shutdown();
      await running;
      await connection.close();
    },
  };
}

function floorInput(nodeKey: string): FloorInput {
  const key = createPublicKey({ key: Buffer.from(nodeKey, 'base64'), format: 'der', type: 'spki' });
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const encryptedKey = publicEncrypt({ key, padding, oaepHash: 'sha256' }, randomBytes(32));
  return {
    encryptedKey: encryptedKey.toString('base64'),
    payload: randomBytes(PAYLOAD_BYTES).toString('base64'),
  };
}

await runRole(startFloor);
