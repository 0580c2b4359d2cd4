import { createHmac, createSecretKey } from 'node:crypto';
import { Client } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { Sampling } from '../activities/sampling.ts';
import { createSteps } from '../activities/steps.ts';
import { caSource } from '../crypto/ca.ts';
import { loadOrCreateWrapRing, loadOrCreateX25519Ring } from '../crypto/key-files.ts';
import type { BackgroundDependencies } from '../intake/background.ts';
import {
  certificateRoutes,
  type CertificateRouteDependencies,
} from '../intake/certificate-routes.ts';
import { Commands } from '../intake/commands.ts';
import { startPulse } from '../intake/pulse.ts';
import { Relay } from '../intake/relay.ts';
import { createIntakeServer, type ServerDependencies } from '../intake/server.ts';
import { DUTIES, startSweeper } from '../intake/sweeper.ts';
import { cancellationHandler } from '../prisma/cancellations.ts';
import type { Ring, WrapKey } from '../crypto/keys.ts';
import { openDatabase, type Database } from '../prisma/client.ts';
import { listenForOutcomes, type OutcomeListener } from '../prisma/outcomes.ts';
import { COORDINATOR_QUEUE } from '../protocol/queues.ts';
import { coordinatorEnv, readConfig } from './config.ts';
import { CoordinatorMetrics } from './coordinator-metrics.ts';
import { serveMetricsOn } from './metrics.ts';
import { moduleFile } from './module-file.ts';
import { createLogger, runRole, type RunningRole } from './role.ts';
import { installTemporalRuntime } from './runtime.ts';
import { workflowBundle } from './workflow-bundle.ts';

/** Workflows that stay in memory between their tasks; more than are in flight on two cores. */
const CACHED_WORKFLOWS_MAX = 500;

/** An epoch lasts longer; it is published a whole epoch before it begins. */
const EPOCHS_LOOKED_AT_SECONDS = 5;

/**
 * The coordinator: the intake API (Receive) and the workflow worker in one process, because an
 * eager start needs its client and its worker to share one connection.
 */
async function startCoordinator(): Promise<RunningRole> {
  const config = readConfig('coordinator', coordinatorEnv);
  const log = createLogger('coordinator', config.PLX_LOG_LEVEL);
  installTemporalRuntime(log);
  const { DATABASE_URL: databaseUrl } = config;
  const database = openDatabase(databaseUrl);
  const { channelSecret, returnRing, ...rings } = await loadKeys(config.PLX_COORDINATOR_KEYS);
  const ca = caSource({ given: config.PLX_CA, directory: config.PLX_COORDINATOR_KEYS });
  // A CA that can't be used is said now, not to the first node.
  await ca();
  const sampling = await startSampling(database, rings.samplingRing, config, log);
  const connection = await NativeConnection.connect({ address: config.TEMPORAL_ADDRESS });
  const client = new Client({ connection, namespace: config.TEMPORAL_NAMESPACE });
  const relay = new Relay(channelSecret, returnRing);
  const metrics = new CoordinatorMetrics(relay, database);
  const commands = new Commands(channelSecret);
  const outcomes = await listenTo(databaseUrl, { relay, commands }, log);
  const background = await startBackground({ database, client, log }, sampling, databaseUrl);
  const hint = () => background.sweeper.hint();
  const coordinatorUrl = urlOf(config);

  const worker = await Worker.create({
    ...(await workerOptions(log)),
    connection,
    namespace: config.TEMPORAL_NAMESPACE,
    activities: createSteps({
      database,
      returnRing,
      wrapRing: rings.wrapRing,
      channelSecret,
      sampling,
      coordinatorUrl,
      relayed: (unitId, dispatch) => relay.relayed(unitId, dispatch),
      onCapacity: hint,
      onWaiting: () => background.sweeper.expect(),
      onSettled: (...settled) => metrics.settled(...settled),
      log,
    }),
  });
  const running = worker.run();

  const server = await serve(config, {
    database,
    keys: rings,
    client,
    outcomes,
    relay,
    log,
    ca,
    channelSecret,
    intakeKey: rings.intakeRing[0].publicJwk,
    returnKey: returnRing[0].publicJwk,
    onNodeSeen: hint,
    onAccepted: () => metrics.accepted(),
    commands,
  });
  await serveMetricsOn(config.PLX_COORDINATOR_METRICS_PORT, metrics.registry);
  return {
    ready: { url: coordinatorUrl },
    ended: running,
    async stop() {
      await server.close();
      await background.stop();
      worker.shutdown();
      await running;
      await outcomes.close();
      await connection.close();
      await database.$disconnect();
    },
  };
}

type Config = z.infer<typeof coordinatorEnv>;

/** The HTTP side, with what the environment says of it. */
async function serve(
  config: Config,
  parts: Omit<ServerDependencies & CertificateRouteDependencies, keyof ReturnType<typeof settings>>,
): Promise<FastifyInstance> {
  const dependencies = { ...parts, ...settings(config) };
  const server = createIntakeServer(dependencies);
  certificateRoutes(server, dependencies);
  await server.listen({ host: config.PLX_COORDINATOR_HOST, port: config.PLX_COORDINATOR_PORT });
  return server;
}

function settings(config: Config) {
  return {
    intakeToken: config.PLX_INTAKE_TOKEN,
    edgeToken: config.PLX_EDGE_TOKEN,
    join: config.PLX_JOIN,
    chainId: config.PLX_CHAIN_ID,
    certificateSeconds: config.PLX_CERTIFICATE_SECONDS,
  };
}

/** What the workflow worker is, wherever it runs. */
async function workerOptions(log: Logger) {
  return {
    taskQueue: COORDINATOR_QUEUE,
    workflowBundle: await workflowBundle({ log }),
    dataConverter: {
      payloadConverterPath: moduleFile('../workflows/payload-converter', import.meta.url),
    },
    maxCachedWorkflows: CACHED_WORKFLOWS_MAX,
  };
}

/** The secrets by which units are sampled: an epoch has to be there before anything is drawn. */
async function startSampling(
  database: Database,
  ring: Ring<WrapKey>,
  config: Config,
  log: Logger,
): Promise<Sampling> {
  const sampling = new Sampling({
    database,
    ring,
    policy: config.PLX_SAMPLING_RATES,
    epochSeconds: config.PLX_SAMPLING_EPOCH_SECONDS,
    onSecretLost: (epoch) =>
      log.error({ epoch }, 'coordinator // the secret of a sampling epoch is lost: see docs'),
  });
  await sampling.refresh();
  return sampling;
}

/**
 * The pulse before anything is decided: what happened while nobody could serve counts against no
 * node.
 */
async function startBackground(
  dependencies: BackgroundDependencies,
  sampling: Sampling,
  databaseUrl: string,
) {
  // Of its own: a pool that is used up is no outage.
  const pulseDatabase = openDatabase(databaseUrl, 1);
  const pulse = await startPulse({ ...dependencies, database: pulseDatabase });
  const epochs = {
    name: 'sampling epochs',
    everySeconds: EPOCHS_LOOKED_AT_SECONDS,
    run: () => sampling.refresh(),
  };
  const sweeper = startSweeper(dependencies, [...DUTIES, epochs]);
  return {
    sweeper,
    async stop() {
      await sweeper.stop();
      await pulse.stop();
      await pulseDatabase.$disconnect();
    },
  };
}

/** The notifications of all coordinators, over one connection. */
function listenTo(
  databaseUrl: string,
  { relay, commands }: { readonly relay: Relay; readonly commands: Commands },
  log: Logger,
): Promise<OutcomeListener> {
  const onError = (error: Error) =>
    log.error({ error: error.message }, 'coordinator // lost its notification connection');
  const cancellations = cancellationHandler((cancellation) => {
    relay.stop(cancellation.unitId, cancellation.dispatch);
    commands.cancel(cancellation);
  });
  return listenForOutcomes(databaseUrl, onError, [cancellations]);
}

function urlOf(config: Config): string {
  const { PLX_COORDINATOR_HOST: host, PLX_COORDINATOR_PORT: port } = config;
  return config.PLX_COORDINATOR_URL ?? `http://${host}:${port}`;
}

/** The coordinator's key files. All of them must outlive a restart: running requests need them. */
async function loadKeys(directory: string) {
  const [intakeRing, returnRing, wrapRing, channelRing, samplingRing] = await Promise.all([
    loadOrCreateX25519Ring(directory, 'intake'),
    loadOrCreateX25519Ring(directory, 'return'),
    loadOrCreateWrapRing(directory, 'wrap'),
    loadOrCreateWrapRing(directory, 'channel'),
    loadOrCreateWrapRing(directory, 'sampling'),
  ]);
  const secret = createHmac('sha256', channelRing[0].key).update('channel.v1').digest();
  const channelSecret = createSecretKey(secret);
  return { intakeRing, returnRing, wrapRing, channelSecret, samplingRing };
}

await runRole(startCoordinator);
