import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import type { GatewayDependencies } from './context.ts';
import { noParameters, parseQuery } from './query.ts';

/** Who doesn't answer by then isn't well. */
const ANSWER_MS_MAX = 2_000;
/** So long an answer is good for all who ask: they can't have more asked than that. */
const SHARED_MS = 1_000;
const RETRY_AFTER_SECONDS = 5;

type Dependencies = Pick<GatewayDependencies, 'database' | 'coordinatorUrl'>;

/** `GET /healthz`: whether database and coordinator can be reached from here. */
export function healthRoute(app: FastifyInstance, dependencies: Dependencies): void {
  let asked: { readonly health: ReturnType<typeof healthOf>; answeredAtMs: number } | undefined;
  const shared = () => {
    if (asked && performance.now() - asked.answeredAtMs < SHARED_MS) return asked.health;
    const health = healthOf(dependencies);
    const asking = { health, answeredAtMs: Infinity };
    void health.then(() => (asking.answeredAtMs = performance.now()));
    asked = asking;
    return health;
  };
  app.get('/healthz', async ({ query }, reply) => {
    parseQuery(noParameters, query);
    const health = await shared();
    const ok = health.database && health.coordinator;
    if (!ok) reply.header('retry-after', RETRY_AFTER_SECONDS);
    return reply.code(ok ? 200 : 503).send({ status: ok ? 'ok' : 'degraded', ...health });
  });
}

/** Never rejects. */
async function healthOf({ database, coordinatorUrl }: Dependencies) {
  const signal = AbortSignal.timeout(ANSWER_MS_MAX);
  const [databaseOk, coordinatorOk] = await Promise.all([
    Promise.race([
      database.$queryRaw`SELECT 1`.then(
        () => true,
        () => false,
      ),
      sleep(ANSWER_MS_MAX, false, { ref: false }),
    ]),
    fetch(`${coordinatorUrl}/healthz`, { signal }).then(
      (response) => response.ok,
      () => false,
    ),
  ]);
  return { database: databaseOk, coordinator: coordinatorOk };
}
