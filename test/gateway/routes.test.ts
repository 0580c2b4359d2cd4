import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { FastifyInstance } from 'fastify';
import { OPERATIONS } from '../../gateway/openapi.ts';
import { SCOPES, type Scope } from '../../protocol/keys.ts';
import {
  ADMIN_KEY,
  OTHER_ACCOUNT,
  startLoneGateway,
  type LoneGateway,
} from '../support/lone-gateway.ts';
import { rawHttp } from '../support/raw-http.ts';

/** All that is answered without a key. What isn't here needs one. */
const PUBLIC: readonly string[] = [
  'GET /healthz',
  'GET /v1/models',
  'GET /v1/models/:id',
  'GET /v1/prices',
  'GET /v1/sampling/epochs',
  'GET /openapi.json',
  'POST /v1/auth/nonce',
  'POST /v1/auth/keys',
];

interface Answer {
  readonly status: number;
  readonly error: Readonly<Record<string, unknown>> | undefined;
}

describe('gateway/routes', () => {
  let gateway: LoneGateway;
  /** `METHOD /path`, as fastify has them: nobody has to write a new one down here. */
  const routes: string[] = [];
  before(async () => {
    const onMade = (made: unknown) => {
      const { fastify } = made as { fastify: FastifyInstance };
      fastify.addHook('onRoute', ({ method, url }) => {
        for (const each of [method].flat()) routes.push(`${each} ${url}`);
      });
    };
    subscribe('fastify.initialization', onMade);
    gateway = await startLoneGateway();
    unsubscribe('fastify.initialization', onMade);
  });
  after(() => gateway.stop());

  const isPublic = (route: string) =>
    // The page to read the description, of files that everybody has.
    /^(GET|HEAD) \/docs(\/|$)/.test(route) || PUBLIC.includes(route.replace(/^HEAD /, 'GET '));
  const closed = () => routes.filter((route) => !isPublic(route));

  async function ask(route: string, authorization?: string, query = ''): Promise<Answer> {
    const [method = '', path = ''] = route.split(' ');
    const hasBody = !['GET', 'HEAD'].includes(method);
    const response = await fetch(gateway.url + path.replace(/:\w+/g, 'x') + query, {
      method,
      headers: {
        ...(authorization === undefined ? {} : { authorization }),
        ...(hasBody ? { 'content-type': 'application/json' } : {}),
      },
      ...(hasBody ? { body: '{}' } : {}),
    });
    const text = await response.text();
    const { status } = response;
    const isJson = response.headers.get('content-type')?.startsWith('application/json');
    if (method === 'HEAD' || !isJson) return { status, error: undefined };
    return { status, error: (JSON.parse(text) as { error?: Record<string, unknown> }).error };
  }

  async function keyWith(scopes: readonly Scope[]): Promise<string> {
    const key = `plx-${randomUUID()}`;
    const keyHash = createHash('sha256').update(key).digest('hex');
    await gateway.database.apiKey.create({
      data: { keyHash, accountId: OTHER_ACCOUNT, scopes: [...scopes] },
    });
    return key;
  }

  /** As `/openapi.json` tells it. */
  function accessOf(route: string): string | undefined {
    const [method = '', path = ''] = route.split(' ');
    return OPERATIONS.find(
      (each) =>
        each.method === method.toLowerCase() && each.path === path.replace(/:(\w+)/g, '{$1}'),
    )?.access;
  }

  it('answers nothing without a key but what is public', async () => {
    assert.ok(closed().length > 20 && closed().includes('POST /v1/chat/completions'));
    for (const route of closed()) {
      const { status, error } = await ask(route);
      assert.equal(status, 401, route);
      if (route.startsWith('HEAD')) continue;
      assert.deepEqual(
        [error?.['type'], error?.['param'], error?.['code'], typeof error?.['message']],
        ['authentication_error', null, 'receive.unauthorized', 'string'],
        route,
      );
    }
    for (const route of routes.filter(isPublic))
      assert.notEqual((await ask(route)).error?.['code'], 'receive.unauthorized', route);
  });

  it('refuses a parameter that a route does not have, by its name', async () => {
    const all = await keyWith(SCOPES);
    for (const route of routes) {
      if (/ \/docs(\/|$)/.test(route)) continue;
      const needed = route.endsWith('/draws') ? '?epoch=1&' : '?';
      const key = accessOf(route.replace(/^HEAD /, 'GET ')) === 'admin' ? ADMIN_KEY : all;
      const { status, error } = await ask(route, `Bearer ${key}`, needed + 'parametre=1');
      assert.equal(status, 400, route);
      if (!route.startsWith('HEAD')) assert.equal(error?.['param'], 'parametre', route);
    }
  });

  it('refuses who has no key before the body comes, and takes none of it', async () => {
    for (const route of closed().filter((each) => !/^(GET|HEAD) /.test(each))) {
      const { status, text } = await rawHttp(gateway.url, [
        `${route} HTTP/1.1\r\nhost: g\r\nconnection: close\r\n` +
          'content-type: application/json\r\ncontent-length: 1000\r\n\r\n{',
      ]);
      assert.equal(status, 401, `${route}: ${text}`);
    }
    const unknown = await rawHttp(gateway.url, [
      'POST /none HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n' +
        'content-length: 1000\r\n\r\n{',
    ]);
    assert.equal(unknown.status, 404, unknown.text);
  });

  it('takes a key in one form', async () => {
    const key = await keyWith(['read']);
    for (const authorization of [
      key,
      `bearer ${key}`,
      `Bearer  ${key}`,
      `Bearer ${key} x`,
      `Bearer ${key},`,
      `Bearer "${key}"`,
      `Basic ${Buffer.from(`${key}:`).toString('base64')}`,
      'Bearer',
      'Bearer ',
      `Bearer ${key}${'a'.repeat(8_000)}`,
    ])
      assert.equal((await ask('GET /v1/requests', authorization)).status, 401, authorization);
    assert.equal((await ask('GET /v1/requests', `Bearer ${key}`)).status, 200);
  });

  it('needs one scope for each route, and an admin key for those of admins', async () => {
    const none = await keyWith([]);
    const admins: string[] = [];
    for (const route of closed()) {
      const { status, error } = await ask(route, `Bearer ${none}`);
      assert.equal(status, 403, route);
      if (error?.['code'] === 'gateway.admin_required') admins.push(route);
      else if (error) assert.equal(error['code'], 'gateway.scope_missing', route);
    }
    assert.ok(admins.includes('POST /v1/nodes/:id/reinstate') && admins.length >= 6);
    const all = await keyWith(SCOPES);
    for (const route of admins)
      assert.equal((await ask(route, `Bearer ${all}`)).error?.['code'], 'gateway.admin_required');
    const single = new Map<Scope, string>();
    for (const scope of SCOPES) single.set(scope, await keyWith([scope]));
    for (const route of closed()) {
      if (admins.includes(route) || route.startsWith('HEAD')) continue;
      const through: Scope[] = [];
      for (const [scope, key] of single) {
        const { error } = await ask(route, `Bearer ${key}`);
        if (error?.['code'] !== 'gateway.scope_missing') through.push(scope);
      }
      assert.deepEqual(through, [accessOf(route)], route);
    }
    for (const route of admins.filter((each) => !each.startsWith('HEAD')))
      assert.equal(accessOf(route), 'admin', route);
    for (const { method, path, access } of OPERATIONS)
      if (access === 'public')
        assert.ok(isPublic(`${method.toUpperCase()} ${path.replace(/\{(\w+)\}/, ':$1')}`), path);
  });
});
