import assert from 'node:assert/strict';
import { BackendFailedError, type Backend } from '../../../nodes/backends/backend.ts';
import { createOpenAiBackend } from '../../../nodes/backends/openai.ts';
import { INSTANT_MODEL, instantBackend } from '../../../bench/instant-backend.ts';
import { freePort } from '../../support/servers.ts';
import { startOpenAiServer, type OpenAiServer } from '../../support/openai-server.ts';
import { ask, run } from './support.ts';

describe('what the openai backend learns of its server', () => {
  let server: OpenAiServer;
  const opened: Backend[] = [];
  beforeEach(async () => {
    server = await startOpenAiServer(instantBackend());
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((backend) => backend.close()));
    await server.stop();
  });

  interface Changes {
    readonly serverId?: string;
    readonly contextTokens?: number;
    readonly url?: string;
    readonly apiKey?: string;
  }
  async function connect({ serverId = 'instant', contextTokens, url, apiKey }: Changes = {}) {
    const { digest } = INSTANT_MODEL;
    const model = { id: 'asked-for', digest, serverId, contextTokens };
    const backend = await createOpenAiBackend({ url: url ?? server.url, apiKey, model, slots: 1 });
    opened.push(backend);
    return backend;
  }
  const list = (...data: object[]) => {
    server.routes = { '/v1/models': [200, { object: 'list', data }] };
  };
  const failure = (pattern: RegExp) => (error: unknown) =>
    error instanceof BackendFailedError && pattern.test(error.message);

  const engines: Record<string, [OpenAiServer['routes'], engine: string, quantisation: string]> = {
    vLLM: [
      {
        '/v1/models': [200, { data: [{ id: 'instant', owned_by: 'vllm', max_model_len: 4096 }] }],
        '/version': [200, { version: '0.10.1' }],
      },
      'vllm/0.10.1',
      'unknown',
    ],
    'llama.cpp': [
      {
        '/v1/models': [
          200,
          {
            data: [
              {
                id: 'models/instant.gguf',
                aliases: ['instant'],
                owned_by: 'llamacpp',
                meta: { n_ctx: 4096, n_ctx_train: 8192, ftype: 'Q4_1' },
              },
            ],
          },
        ],
        '/props': [200, { build_info: 'b6123-f00d (gcc 13)' }],
      },
      'llama.cpp/b6123-f00d_(gcc_13)',
      'Q4_1',
    ],
    'an older llama.cpp': [
      {
        '/v1/models': [200, { data: [{ id: 'instant', meta: { n_ctx_train: 8192 } }] }],
        '/props': [200, { build_info: 'b1', default_generation_settings: { n_ctx: 4096 } }],
      },
      'llama.cpp/b1',
      'unknown',
    ],
    'one that names nothing': [
      { '/v1/models': [200, { data: [{ id: 'instant', max_model_len: 4096, owned_by: 7 }] }] },
      'openai-compatible',
      'unknown',
    ],
    'one with a name that nobody could store': [
      {
        '/v1/models': [
          200,
          {
            data: [{ id: 'instant', max_model_len: 4096, owned_by: `é\u0000\n${'x'.repeat(300)}` }],
          },
        ],
      },
      `_${'x'.repeat(119)}`,
      'unknown',
    ],
  };
  for (const [name, [routes, engine, quantisation]] of Object.entries(engines))
    it(`describes ${name}`, async () => {
      server.routes = routes;
      const backend = await connect();
      const { digest } = INSTANT_MODEL;
      assert.equal(backend.engine, `${engine} undeclared-hardware`);
      const model = { id: 'asked-for', digest, quantisation, contextTokens: 4096 };
      assert.deepEqual(backend.model, model);
      assert.equal((await run(backend, ask('a b'))).text, 'a b');
      const listed = routes['/v1/models']?.[1] as { data: { id: string }[] };
      assert.equal(server.exchanges.at(-1)?.body.model, listed.data[0]?.id);
    });

  it('describes Ollama, whose context the operator has to say', async () => {
    server.routes = {
      '/v1/models': [200, { data: [{ id: 'instant:latest', owned_by: 'library' }] }],
      '/api/version': [200, { version: '0.12.3' }],
    };
    await assert.rejects(connect(), failure(/context has.*PLX_CONTEXT_TOKENS.*OLLAMA/));
    const backend = await connect({ contextTokens: 4096 });
    assert.deepEqual(
      [backend.engine, backend.model.contextTokens],
      ['ollama/0.12.3 undeclared-hardware', 4096],
    );
  });

  it('lets the operator lower the context, and not raise it', async () => {
    assert.equal((await connect({ contextTokens: 512 })).model.contextTokens, 512);
    const more = connect({ contextTokens: 1_025 });
    await assert.rejects(more, failure(/is 1025, but the server's context has 1024 tokens/));
  });

  it('says which models there are when the right one is not served', async () => {
    list({ id: 'other' }, { id: 'a b' });
    await assert.rejects(
      connect(),
      failure(/doesn't serve the model instant; it lists other, a_b\..*PLX_OPENAI_MODEL/),
    );
    list();
    await assert.rejects(connect(), failure(/it lists none/));
  });

  it('says what is wrong with an address', async () => {
    const base = server.url.replace('/v1', '');
    await assert.rejects(connect({ url: base }), failure(/HTTP 404.*with \/v1/));
    const closed = `http://127.0.0.1:${await freePort()}/v1`;
    await assert.rejects(connect({ url: closed }), failure(/connection to http:\/\/127.*ECONNREF/));
    const forbidden = connect({ url: 'http://127.0.0.1:1/v1' });
    await assert.rejects(forbidden, failure(/a port that the fetch standard forbids/));
    server.routes = { '/v1/models': [200, { hello: 'world' }] };
    await assert.rejects(connect(), failure(/something else than a list of models/));
    server.routes = { '/v1/models': [401, { error: { message: 'no' } }] };
    await assert.rejects(connect({ apiKey: 'k-123' }), failure(/HTTP 401.*PLX_OPENAI_API_KEY/));
    assert.equal(server.headers.at(-1)?.authorization, 'Bearer k-123');
  });

  it('is unhealthy while its server is away or loads, and healthy again afterwards', async () => {
    const backend = await connect();
    await backend.health();
    const { routes } = server;
    const loading = { error: { message: 'Loading model', type: 'unavailable_error' } };
    server.routes = { ...routes, '/v1/models': [503, loading] };
    await assert.rejects(backend.health(), failure(/HTTP 503 unavailable_error/));
    server.routes = { ...routes, '/health': [503, {}] };
    await assert.rejects(backend.health(), failure(/HTTP 503/));
    server.routes = { '/v1/models': [200, { data: [{ id: 'other' }] }] };
    await assert.rejects(backend.health(), failure(/doesn't serve the model instant/));
    server.routes = routes;
    await backend.health();
    const port = Number(new URL(server.url).port);
    await server.stop();
    await assert.rejects(backend.health(), failure(/connection to/));
    await assert.rejects(run(backend, ask('a')), failure(/connection to/));
    server = await startOpenAiServer(instantBackend(), port);
    await backend.health();
    assert.equal((await run(backend, ask('a b'))).text, 'a b');
  });

  it('learns after an outage what came back', async () => {
    const backend = await connect();
    const { routes } = server;
    server.routes = {};
    await assert.rejects(backend.health(), BackendFailedError);
    const data = [{ id: 'instant', owned_by: 'vllm', max_model_len: 100 }];
    server.routes = { '/v1/models': [200, { data }], '/version': [200, { version: '0.11.0' }] };
    await backend.health();
    assert.deepEqual(
      [backend.engine, backend.model.contextTokens],
      ['vllm/0.11.0 undeclared-hardware', 100],
    );
    // While it is healthy nothing is asked anew.
    server.routes = routes;
    await backend.health();
    assert.equal(backend.engine, 'vllm/0.11.0 undeclared-hardware');
  });

  it('refuses slots that make no sense', async () => {
    const { digest } = INSTANT_MODEL;
    const model = { id: 'instant', digest, serverId: 'instant' };
    const none = createOpenAiBackend({ url: server.url, model, slots: 0 });
    await assert.rejects(none, failure(/slots is 0/));
  });
});
