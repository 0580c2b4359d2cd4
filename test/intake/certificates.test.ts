import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fastify, { type FastifyInstance } from 'fastify';
import { caSource, type CaRing } from '../../crypto/ca.ts';
import { certificateRequest } from '../../crypto/certificate-requests.ts';
import { certifiedNodeId, selfSignedCa } from '../../crypto/certificates.ts';
import { exportPrivatePem } from '../../crypto/private-pem.ts';
import { exportSpki, nodeIdOf } from '../../crypto/keys.ts';
import type { BackgroundDependencies } from '../../intake/background.ts';
import { certificateRoutes } from '../../intake/certificate-routes.ts';
import { DUTIES } from '../../intake/sweeper.ts';
import { certificateAnswerSchema, renewAfterMs } from '../../protocol/certificate-schema.ts';
import { CodedError, errorDefinition } from '../../protocol/errors.ts';
import {
  encryptionPrivateKey,
  encryptionPublicKey,
  signingPrivateKey,
  signingPublicKey,
} from '../crypto/fixtures.ts';
import { addPoolNode } from '../support/pool.ts';
import { seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const EDGE_TOKEN = 'edge-token-of-this-test';
const DAY_SECONDS = 86_400;
const node = { publicKey: signingPublicKey, privateKey: signingPrivateKey };
const nodeId = nodeIdOf(exportSpki(signingPublicKey));
const caPair = { publicKey: encryptionPublicKey, privateKey: encryptionPrivateKey };

describe('intake/certificates', () => {
  let test: TestDatabase;
  let directory: string;
  let ca: () => Promise<CaRing>;
  let app: FastifyInstance;
  let csr: string;

  before(async () => {
    test = await freshDatabase();
    await seedInstant(test.database);
    directory = await mkdtemp(join(tmpdir(), 'parallelix-certificates-'));
    const given = (await selfSignedCa(caPair, 'CA')) + exportPrivatePem(encryptionPrivateKey);
    ca = caSource({ given, directory });
    csr = await certificateRequest(node, nodeId);
    app = fastify();
    app.setErrorHandler((error, _request, reply) => {
      if (!(error instanceof CodedError)) throw error;
      const { code, message } = error;
      return reply.code(errorDefinition(code).httpStatus).send({ error: { code, message } });
    });
    certificateRoutes(app, {
      database: test.database,
      ca,
      certificateSeconds: DAY_SECONDS,
      join: 'open',
      edgeToken: EDGE_TOKEN,
    });
    await app.ready();
  });
  beforeEach(() => test.database.$executeRaw`DELETE FROM node_certificate`);
  after(async () => {
    await app.close();
    await test.close();
    await rm(directory, { recursive: true });
  });

  async function post(path: string, payload: object, token = EDGE_TOKEN) {
    const headers = { authorization: `Bearer ${token}` };
    return await app.inject({ method: 'POST', url: path, headers, payload });
  }

  async function refuses(code: string, path: string, payload: object): Promise<void> {
    const response = await post(path, payload);
    assert.equal(response.json().error?.code, code, response.body);
  }

  it('enrols and renews a node, and writes down what it issued', async () => {
    const serials: string[] = [];
    for (const what of ['enroll', 'certificate']) {
      const response = await post(`/v1/nodes/${nodeId}/${what}`, { csr });
      assert.equal(response.statusCode, 200, response.body);
      const answer = certificateAnswerSchema.parse(response.json());
      const certificate = new X509Certificate(answer.certificate);
      assert.equal(certifiedNodeId(certificate), nodeId);
      assert.ok(certificate.verify(encryptionPublicKey));
      assert.equal(answer.ca, (await ca()).trusted);
      assert.equal(Date.parse(answer.expiresAt), Date.parse(certificate.validTo));
      const renewInSeconds = (Date.parse(answer.renewAt) - Date.now()) / 1_000;
      assert.ok(Math.abs(renewInSeconds - (DAY_SECONDS * 2) / 3) < 10, String(renewInSeconds));
      assert.ok(Math.abs(renewAfterMs(answer) / 1_000 - (DAY_SECONDS * 2) / 3) < 10);
      serials.push(certificate.serialNumber.toLowerCase());
    }
    const rows = await test.database.nodeCertificate.findMany({ orderBy: { issuedAt: 'asc' } });
    assert.deepEqual(rows.map((row) => row.serial).toSorted(), serials.toSorted());
    assert.ok(rows.every((row) => row.nodeId === nodeId));
    assert.ok(rows.every((row) => row.expiresAt.getTime() > Date.now()));
  });

  it('refuses a request of another key than the one of the node that asks', async () => {
    const other = `nd_${'0'.repeat(64)}`;
    for (const what of ['enroll', 'certificate'])
      for (const id of [other, 'nd_1', '&'])
        await refuses('node.certificate_refused', `/v1/nodes/${encodeURIComponent(id)}/${what}`, {
          csr,
        });
    assert.equal(await test.database.nodeCertificate.count(), 0);
  });

  it('refuses what is not the message that it should be', async () => {
    const hostile = [{}, { csr: 1 }, { csr: '' }, { csr, more: 1 }, { csr: csr.slice(0, 400) }];
    for (const body of hostile) {
      await refuses('node.certificate_refused', `/v1/nodes/${nodeId}/enroll`, body);
      await refuses('node.certificate_refused', `/v1/nodes/${nodeId}/certificate`, body);
      await refuses('node.certificate_refused', '/v1/edge/certificate', body);
    }
    const large = await post(`/v1/nodes/${nodeId}/enroll`, { csr: 'x'.repeat(33_000) });
    assert.equal(large.statusCode, 413);
  });

  it('refuses a node that was removed from the pool, until it is let in again', async () => {
    await addPoolNode(test.database, { id: nodeId, status: 'removed' });
    await refuses('edge.node_removed', `/v1/nodes/${nodeId}/enroll`, { csr });
    await refuses('edge.node_removed', `/v1/nodes/${nodeId}/certificate`, { csr });
    await test.database.node.update({ where: { id: nodeId }, data: { status: 'active' } });
    assert.equal((await post(`/v1/nodes/${nodeId}/certificate`, { csr })).statusCode, 200);
  });

  it('gives one node 60 certificates in an hour, and more later', async () => {
    await test.database.nodeCertificate.createMany({
      data: Array.from({ length: 60 }, (_, index) => ({
        serial: String(index),
        nodeId,
        expiresAt: new Date(),
      })),
    });
    await refuses('edge.too_many', `/v1/nodes/${nodeId}/certificate`, { csr });
    await test.database.nodeCertificate.updateMany({
      data: { issuedAt: new Date(Date.now() - 3_601_000) },
    });
    assert.equal((await post(`/v1/nodes/${nodeId}/certificate`, { csr })).statusCode, 200);
  });

  it('gives an edge its certificate, and everybody the CAs', async () => {
    const edge = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const request = await certificateRequest(edge, 'edge');
    const names = ['edge.example.org', '127.0.0.1'];
    const response = await post('/v1/edge/certificate', { csr: request, names });
    const answer = certificateAnswerSchema.parse(response.json());
    const certificate = new X509Certificate(answer.certificate);
    assert.ok(certificate.checkPrivateKey(edge.privateKey));
    assert.ok(certificate.checkHost('edge.example.org'));
    const headers = { authorization: `Bearer ${EDGE_TOKEN}` };
    const bundle = await app.inject({ url: '/v1/edge/ca', headers });
    assert.deepEqual(bundle.json(), { ca: answer.ca });
    await refuses('node.certificate_refused', '/v1/edge/certificate', { csr: request, names: [] });
    await refuses('node.certificate_refused', '/v1/edge/certificate', {
      csr: request,
      names: ['*.example.org'],
    });
    await refuses('node.certificate_refused', '/v1/edge/certificate', { csr, names });
  });

  it('answers edges alone', async () => {
    for (const path of [`/v1/nodes/${nodeId}/enroll`, '/v1/edge/certificate']) {
      const response = await post(path, { csr }, 'another-token-of-this-test');
      assert.equal(response.statusCode, 401);
      assert.equal(response.json().error.code, 'edge.unauthenticated');
    }
    assert.equal((await app.inject({ url: '/v1/edge/ca' })).statusCode, 401);
  });

  it('are forgotten a month after they expired, but not those of nodes', async () => {
    const registered = await addPoolNode(test.database);
    const days = (ago: number) => new Date(Date.now() - ago * DAY_SECONDS * 1_000);
    const row = (serial: string, ago: number, of: string = 'a stranger') => ({
      serial,
      nodeId: of,
      expiresAt: days(ago),
    });
    const old = Array.from({ length: 1_001 }, (_, index) => row(`old ${index}`, 31));
    await test.database.nodeCertificate.createMany({
      data: [...old, row('young', 29), row('valid', -1), row('of a node', 31, registered)],
    });
    const { run } = DUTIES.find(({ name }) => name === 'forget certificates') ?? assert.fail();
    const dependencies = { database: test.database } as BackgroundDependencies;
    assert.equal(await run(dependencies), 1_000);
    assert.equal(await run(dependencies), 1);
    assert.equal(await run(dependencies), 0);
    const left = await test.database.nodeCertificate.findMany({ orderBy: { serial: 'asc' } });
    assert.deepEqual(
      left.map(({ serial }) => serial),
      ['of a node', 'valid', 'young'],
    );
  });
});
