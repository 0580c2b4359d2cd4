import type { FastifyInstance } from 'fastify';
import pino from 'pino';
import { generateX25519Key } from '../../crypto/keys.ts';
import { Readers } from '../../gateway/disconnect.ts';
import { GatewayMetrics } from '../../gateway/metrics.ts';
import { fetchIntakeKey } from '../../gateway/intake-client.ts';
import { GATEWAY_LIMITS, type GatewayLimits } from '../../gateway/limits.ts';
import { createGateway } from '../../gateway/server.ts';
import type { StreamPace } from '../../gateway/sse.ts';
import { openDatabase } from '../../prisma/client.ts';
import { signInTerms } from '../../protocol/sign-in.ts';
import { CHAIN_ID } from '../../workers/embedded/operators.ts';
import { INTAKE_TOKEN, type Coordination } from './coordination.ts';
import { freePort } from './servers.ts';

/** A gateway in this process, before a coordinator of its own. */
export interface RealGateway {
  readonly url: string;
  readonly app: FastifyInstance;
  readonly logged: readonly Readonly<Record<string, unknown>>[];
  stop(): Promise<void>;
}

/**
 * @param limits that differ from the usual ones.
 * @param pace of its streams, likewise.
 */
export async function startRealGateway(
  { coordinatorUrl, databaseUrl }: Coordination,
  limits: Partial<GatewayLimits> = {},
  pace: StreamPace = {},
): Promise<RealGateway> {
  const logged: Record<string, unknown>[] = [];
  const write = (line: string) => void logged.push(JSON.parse(line) as Record<string, unknown>);
  const log = pino({ level: 'info' }, { write });
  const coordinator = { coordinatorUrl, intakeToken: INTAKE_TOKEN };
  const port = await freePort();
  const database = openDatabase(databaseUrl);
  const metrics = new GatewayMetrics();
  const app = createGateway(
    {
      ...coordinator,
      readers: new Readers({ ...coordinator, database }, log, metrics),
      metrics,
      database,
      requesterRing: [await generateX25519Key()],
      intakeKey: () => fetchIntakeKey(coordinator),
      temporalUiUrl: null,
      temporalNamespace: 'default',
      signIn: signInTerms(`http://127.0.0.1:${port}`, CHAIN_ID),
      log,
      pace,
    },
    { ...GATEWAY_LIMITS, ...limits },
  );
  const url = await app.listen({ host: '127.0.0.1', port });
  return { url, app, logged, stop: () => app.close() };
}
