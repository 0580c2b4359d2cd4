import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Database } from '../prisma/client.ts';
import { addressKey } from '../protocol/buckets.ts';
import { CodedError } from '../protocol/errors.ts';
import { authenticate, authenticateAdmin } from './context.ts';
import type { GatewayLimits } from './limits.ts';
import { OPERATIONS } from './openapi.ts';
import type { Operation } from './operations.ts';
import { Tally } from './tally.ts';

/** All who call without a key share like one account. */
const KEYLESS = '';

/** A connection that has just broken has none any more. */
const addressOf = ({ ip = '' }: { readonly ip?: string }) => addressKey(ip);

function tooMany(detail: string): CodedError {
  return new CodedError('receive.rate_limited', detail);
}

/**
 * Refuses calls beyond what the gateway can have under way, and beyond what one address may have
 * that aren't there yet: whose key is being looked up, or whose body is coming. Health is told in
 * any case.
 */
export function limitCalls(
  app: FastifyInstance,
  { calls, comingPerAddress }: Pick<GatewayLimits, 'calls' | 'comingPerAddress'>,
): void {
  let open = 0;
  const coming = new Tally();
  const arrivals = new WeakMap<FastifyRequest, () => void>();
  app.addHook('onRequest', async (request, reply) => {
    if (isHealth(request)) return;
    const address = addressOf(request);
    if (open >= calls) throw new CodedError('gateway.overloaded');
    if (coming.of(address) >= comingPerAddress)
      throw tooMany(`One address may send ${comingPerAddress} calls at once.`);
    open++;
    coming.add(address, 1);
    let isComing = true;
    const arrived = () => {
      if (isComing) coming.add(address, -1);
      isComing = false;
    };
    arrivals.set(request, arrived);
    reply.raw.once('close', () => {
      open--;
      arrived();
    });
  });
  app.addHook('preValidation', async (request) => arrivals.get(request)?.());
}

/**
 * Lets nobody's body come before the caller is known by the key that the route needs, and no
 * account have more calls under way than its share, so that the rest of the gateway is left for the
 * others.
 */
export function admitCallers(
  app: FastifyInstance,
  database: Database,
  { callsPerAccount }: Pick<GatewayLimits, 'callsPerAccount'>,
): void {
  const open = new Tally();
  app.addHook('onRequest', async (request, { raw }) => {
    if (isHealth(request)) return;
    if (request.is404) throw routeNotFound(request);
    const account = await accountOf(request, database);
    // It has hung up meanwhile, and won't do so again.
    if (raw.destroyed) return;
    if (open.of(account) >= callsPerAccount)
      throw tooMany(
        account === KEYLESS
          ? `Callers without a key may have ${callsPerAccount} calls open, all together.`
          : `One account may have ${callsPerAccount} calls open at one gateway.`,
      );
    open.add(account, 1);
    raw.once('close', () => open.add(account, -1));
  });
}

/** No such route, for whoever calls it. */
export function routeNotFound({ method, url }: FastifyRequest): CodedError {
  return new CodedError('gateway.route_not_found', `${method} ${url.split('?')[0]}`);
}

/** Which key each route needs, by its method and path as Fastify has them. */
const ACCESS: ReadonlyMap<string, Operation['access']> = new Map(
  OPERATIONS.map(({ method, path, access }) => [
    `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`,
    access,
  ]),
);

/** @throws CodedError when the route needs another key. */
async function accountOf(request: FastifyRequest, database: Database): Promise<string> {
  const method = request.method === 'HEAD' ? 'GET' : request.method;
  // The pages of the documentation aren't described, and need none.
  const access = ACCESS.get(`${method} ${request.routeOptions.url}`) ?? 'public';
  if (access === 'public') return KEYLESS;
  const caller =
    access === 'admin'
      ? await authenticateAdmin(database, request)
      : await authenticate(database, request, access);
  return caller.accountId;
}

function isHealth({ routeOptions }: FastifyRequest): boolean {
  return routeOptions.url === '/healthz';
}

/**
 * Bounds the memory of bodies that are coming, in all and of one address: one more is refused while
 * they are too much, and one that makes them too much ends with its connection.
 */
export function limitBodies(
  app: FastifyInstance,
  { heldBytes, heldBytesPerAddress }: Pick<GatewayLimits, 'heldBytes' | 'heldBytesPerAddress'>,
): void {
  let held = 0;
  const heldBy = new Tally();
  const stops = new WeakMap<FastifyRequest, () => void>();
  app.addHook('preParsing', (request, _reply, payload, done) => {
    const { raw } = request;
    const address = addressOf(request);
    if (held >= heldBytes) return done(new CodedError('gateway.overloaded'));
    if (heldBy.of(address) >= heldBytesPerAddress)
      return done(tooMany('One address sends too many bytes at once.'));
    let own = 0;
    let isHeld = true;
    payload.on('data', ({ length }: Buffer) => {
      if (!isHeld) return;
      own += length;
      held += length;
      if (heldBy.add(address, length) > heldBytesPerAddress || held > heldBytes) raw.destroy();
    });
    const release = () => {
      isHeld = false;
      held -= own;
      heldBy.add(address, -own);
      own = 0;
    };
    stops.set(request, release);
    payload.once('end', release);
    raw.once('close', release);
    return done(null, payload);
  });
  // What comes after a refusal is poured away.
  app.addHook('onSend', async (request) => stops.get(request)?.());
}
