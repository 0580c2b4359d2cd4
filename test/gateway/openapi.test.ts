import assert from 'node:assert/strict';
import { Validator } from '@seriousme/openapi-schema-validator';
import type { FastifyInstance } from 'fastify';
import { OPERATIONS, openApiDocument } from '../../gateway/openapi.ts';
import { errorsOf } from '../../gateway/operations.ts';
import { errorDefinition } from '../../protocol/errors.ts';
import { startLoneGateway, type LoneGateway } from '../support/lone-gateway.ts';

interface Described {
  readonly paths: Readonly<Record<string, Readonly<Record<string, OperationView>>>>;
}

interface OperationView {
  readonly operationId: string;
  readonly responses: Readonly<Record<string, { readonly 'x-error-codes'?: readonly string[] }>>;
}

describe('gateway/openapi', () => {
  let gateway: LoneGateway;
  before(async () => {
    gateway = await startLoneGateway();
  });
  after(() => gateway.stop());

  const fetched = async () => {
    const response = await fetch(`${gateway.url}/openapi.json`);
    assert.equal(response.status, 200);
    return (await response.json()) as Described & Record<string, unknown>;
  };

  it('is valid OpenAPI 3.1', async () => {
    const validator = new Validator();
    const { valid, errors } = await validator.validate(await fetched());
    assert.ok(valid, JSON.stringify(errors));
    assert.equal(validator.version, '3.1');
  });

  it('has the routes of the gateway, all of them and no others', () => {
    const described = OPERATIONS.map(({ method, path }) => `${method.toUpperCase()} ${path}`);
    assert.equal(new Set(described).size, described.length);
    assert.deepEqual(described.toSorted(), routesOf(gateway.app).toSorted());
  });

  it('has each code that a route may end with, by its status', async () => {
    const { paths } = await fetched();
    for (const operation of OPERATIONS) {
      const { responses } = paths[operation.path]?.[operation.method] ?? assert.fail();
      for (const code of errorsOf(operation)) {
        const { httpStatus, apiCode } = errorDefinition(code);
        const response = responses[String(httpStatus)];
        // Health is told by the same status.
        if (operation.answers[httpStatus]) continue;
        assert.ok(
          response?.['x-error-codes']?.includes(apiCode ?? code),
          `${operation.path} ${code}`,
        );
      }
    }
  });

  it('has no two operations of one name', () => {
    const { paths } = openApiDocument() as unknown as Described;
    const names = Object.values(paths).flatMap((path) =>
      Object.values(path).map(({ operationId }) => operationId),
    );
    assert.equal(new Set(names).size, names.length);
  });

  it('has a page to read it, whose parts all come from here', async () => {
    const page = await fetch(`${gateway.url}/docs/`);
    assert.equal(page.status, 200);
    const html = await page.text();
    assert.match(html, /ParalleliX API/);
    assert.match(page.headers.get('content-security-policy') ?? '', /default-src 'self'/);
    const parts = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, part = '']) => part);
    assert.ok(parts.length > 3);
    for (const part of parts) {
      const url = new URL(part, `${gateway.url}/docs/`);
      assert.equal(url.origin, gateway.url, part);
      assert.equal((await fetch(url)).status, 200, part);
    }
    const { openapi } = (await (await fetch(`${gateway.url}/docs/json`)).json()) as Record<
      string,
      string
    >;
    assert.equal(openapi, '3.1.0');
  });
});

/** As Fastify prints them, but for those of the page. */
function routesOf(app: FastifyInstance): string[] {
  const lines = app.printRoutes({ commonPrefix: false, includeHooks: false }).split('\n');
  const names: string[] = [];
  const routes: string[] = [];
  for (const line of lines) {
    const [, indent = '', name = '', methods = ''] =
      /^((?:[│ ] {3})*)[├└]── (\S*)(?: \(([A-Z, ]+)\))?/.exec(line) ?? [];
    const depth = indent.length / 4;
    names.length = depth;
    names.push(name);
    const path = names.join('').replace(/:(\w+)/g, '{$1}');
    for (const method of methods.split(', '))
      if (method && method !== 'HEAD' && !path.startsWith('/docs'))
        routes.push(`${method} ${path}`);
  }
  return routes;
}
