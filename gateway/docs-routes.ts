import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { openApiDocument } from './openapi.ts';
import { noParameters, parseQuery } from './query.ts';

/** `/openapi.json`, and a page to read it at `/docs`, which asks nobody else for anything. */
export function docsRoutes(app: FastifyInstance): void {
  const document = openApiDocument();
  app.get('/openapi.json', async ({ query }) => {
    parseQuery(noParameters, query);
    return document;
  });
  void app.register(swagger, {
    mode: 'static',
    specification: { document: document as never },
  });
  void app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: true,
    uiConfig: { validatorUrl: null, docExpansion: 'list', persistAuthorization: false },
    theme: {
      title: 'ParalleliX API',
      // It shows another product's name, and a field for other documents.
      css: [{ filename: 'page.css', content: '.swagger-ui .topbar { display: none }' }],
    },
  });
}
