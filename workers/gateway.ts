import { Readers } from '../gateway/disconnect.ts';
import { GatewayMetrics } from '../gateway/metrics.ts';
import { createGateway } from '../gateway/server.ts';
import { fetchIntakeKey } from '../gateway/intake-client.ts';
import { loadOrCreateX25519Ring } from '../crypto/key-files.ts';
import { openDatabase } from '../prisma/client.ts';
import type { RequesterKey } from '../protocol/receive.ts';
import { signInTerms, type SignInTerms } from '../protocol/sign-in.ts';
import { ConfigError, gatewayEnv, readConfig } from './config.ts';
import { serveMetricsOn } from './metrics.ts';
import { createLogger, runRole, type RunningRole } from './role.ts';

/** How long a fetched intake key is used; the coordinator opens older ones for longer than that. */
const INTAKE_KEY_MS = 60_000;

/** The gateway: the API that apps call. It holds no coordinator key and no Temporal credential. */
async function startGateway(): Promise<RunningRole> {
  const config = readConfig('gateway', gatewayEnv);
  const publicUrl =
    config.PLX_PUBLIC_URL ?? `http://${config.PLX_GATEWAY_HOST}:${config.PLX_GATEWAY_PORT}`;
  const coordinator = {
    coordinatorUrl: config.PLX_COORDINATOR_URL,
    intakeToken: config.PLX_INTAKE_TOKEN,
  };
  const log = createLogger('gateway', config.PLX_LOG_LEVEL);
  const database = openDatabase(config.DATABASE_URL);
  const metrics = new GatewayMetrics();
  const app = createGateway({
    ...coordinator,
    readers: new Readers({ ...coordinator, database }, log, metrics),
    metrics,
    database,
    requesterRing: await loadOrCreateX25519Ring(config.PLX_GATEWAY_KEYS, 'requester'),
    intakeKey: cached(() => fetchIntakeKey(coordinator), INTAKE_KEY_MS),
    temporalUiUrl: config.PLX_TEMPORAL_UI_URL ?? null,
    temporalNamespace: config.TEMPORAL_NAMESPACE,
    signIn: termsOf(publicUrl, config.PLX_CHAIN_ID),
    trustedProxies: config.PLX_TRUSTED_PROXIES,
    log,
  });
  const address = await app.listen({
    host: config.PLX_GATEWAY_HOST,
    port: config.PLX_GATEWAY_PORT,
  });
  await serveMetricsOn(config.PLX_GATEWAY_METRICS_PORT, metrics.registry);
  return {
    ready: { url: address },
    stop: () => app.close(),
  };
}

/** @throws ConfigError if callers can't sign in at that URL. */
function termsOf(publicUrl: string, chainId: number): SignInTerms {
  try {
    return signInTerms(publicUrl, chainId);
  } catch (error) {
    const { message } = error as Error;
    throw new ConfigError(
      `The gateway can't start with this environment:\n  PLX_PUBLIC_URL: ${message}`,
    );
  }
}

/** Keeps an answer for a while; a failure isn't kept. */
function cached(fetchKey: () => Promise<RequesterKey>, forMs: number): () => Promise<RequesterKey> {
  let known: { readonly key: RequesterKey; readonly untilMs: number } | undefined;
  return async () => {
    if (!known || Date.now() > known.untilMs)
      known = { key: await fetchKey(), untilMs: Date.now() + forMs };
    return known.key;
  };
}

await runRole(startGateway);
