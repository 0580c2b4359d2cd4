import assert from 'node:assert/strict';
import fastify from 'fastify';
import {
  answersRepeat,
  errorResponse,
  MalformedRequestError,
  RETRY_AFTER_SECONDS_MAX,
  sendError,
} from '../../gateway/errors.ts';
import { CodedError, errorDefinition, ERRORS, isErrorCode } from '../../protocol/errors.ts';

const CODES = Object.keys(ERRORS).filter(isErrorCode);

describe('gateway/errors errorResponse', () => {
  it('has the shape of the error object of OpenAI', () => {
    assert.deepEqual(
      errorResponse(new CodedError('receive.insufficient_credit', 'Needed: 5 wei.')),
      {
        status: 402,
        headers: { 'x-should-retry': 'false' },
        body: {
          error: {
            message:
              'The account has too little credit to reserve for this request. Needed: 5 wei.',
            type: 'insufficient_quota',
            param: null,
            code: 'receive.insufficient_credit',
          },
        },
      },
    );
    const { error } = errorResponse(new MalformedRequestError('model', 'is not a name')).body;
    assert.equal(error.param, 'model');
  });

  it('names the request once there is one', () => {
    const { body } = errorResponse(new CodedError('node.deadline_exceeded'), 'req_1');
    assert.equal(body.error.request_id, 'req_1');
  });

  it('has the name that apps know, our code, and what else there is to say', () => {
    const metadata = { predicate: 'tier', queue_position: 2, queue_length: 3 };
    const error = new CodedError('schedule.deadline_elapsed', undefined, { metadata });
    const { body } = errorResponse(error);
    assert.equal(body.error.code, 'capacity_unavailable');
    assert.equal(body.error.type, 'capacity');
    assert.deepEqual(body.error.metadata, { event: 'schedule.deadline_elapsed', ...metadata });
  });

  it('answers every code with its status and a type that fits it', () => {
    const types: Record<number, string> = {
      401: 'authentication_error',
      402: 'insufficient_quota',
      403: 'permission_error',
      404: 'not_found_error',
      429: 'rate_limit_error',
    };
    for (const code of CODES) {
      const { httpStatus, apiCode } = errorDefinition(code);
      const { status, body } = errorResponse(new CodedError(code));
      assert.equal(status, httpStatus, code);
      const general = httpStatus < 500 ? 'invalid_request_error' : 'server_error';
      assert.equal(body.error.type, apiCode ? 'capacity' : (types[httpStatus] ?? general), code);
      assert.equal(body.error.code, apiCode ?? code);
    }
  });

  it('says when to try again with each 429 and 503, and with no other', () => {
    for (const code of CODES) {
      const { status, headers } = errorResponse(new CodedError(code));
      const seconds = headers['retry-after'];
      if (status === 429 || status === 503) {
        assert.match(seconds ?? '', /^\d+$/, code);
        assert.ok(Number(seconds) >= 1 && Number(seconds) <= RETRY_AFTER_SECONDS_MAX, code);
      } else assert.equal(seconds, undefined, code);
    }
  });

  const resets: [known: unknown, seconds: string][] = [
    [12.2, '13'],
    [0, '1'],
    [86_400, '60'],
    [-5, '5'],
    ['soon', '5'],
    [Number.NaN, '5'],
    [null, '60'],
  ];
  for (const [known, seconds] of resets)
    it(`tells a reset in ${String(known)} s as ${seconds}`, () => {
      const metadata = { retry_after_seconds: known };
      const error = new CodedError('receive.rate_limited', undefined, { metadata });
      assert.equal(errorResponse(error).headers['retry-after'], seconds);
    });

  it('says how the limits of the key stand, and not to repeat what never fits', () => {
    const rate_limits = { requests: { limit: 10, remaining: 0, reset_seconds: 61 } };
    const metadata = { retry_after_seconds: null, rate_limits };
    const error = new CodedError('receive.rate_limited', undefined, { metadata });
    assert.deepEqual(errorResponse(error).headers, {
      'x-ratelimit-limit-requests': '10',
      'x-ratelimit-remaining-requests': '0',
      'x-ratelimit-reset-requests': '1m1s',
      'retry-after': '60',
      'x-should-retry': 'false',
    });
  });

  it('tells SDKs not to repeat what would be refused again', () => {
    const said = (status: number) =>
      CODES.filter((code) => errorDefinition(code).httpStatus === status).map(
        (code) => errorResponse(new CodedError(code)).headers['x-should-retry'],
      );
    for (const status of [400, 401, 402, 403, 404, 409, 413, 422])
      assert.deepEqual(new Set(said(status)), new Set(['false']), String(status));
    for (const status of [408, 429, 500, 502, 503, 504])
      assert.deepEqual(new Set(said(status)), new Set([undefined]), String(status));
  });
});

describe('gateway/errors sendError', () => {
  const app = fastify();
  app.get('/refused', (_request, reply) =>
    sendError(reply, new CodedError('coordinator.run_lost')),
  );
  for (const isRepeat of [false, true])
    app.get(`/failed-${isRepeat}`, (_request, reply) => {
      reply.header('x-request-id', 'req_1');
      if (isRepeat) answersRepeat(reply);
      return sendError(reply, new CodedError('coordinator.run_lost'));
    });
  after(() => app.close());

  it('names no request before it is accepted', async () => {
    const { statusCode, headers, body } = await app.inject('/refused');
    assert.equal(statusCode, 503);
    assert.equal(headers['retry-after'], '5');
    assert.equal(headers['x-request-id'], undefined);
    assert.doesNotMatch(body, /request_id/);
  });

  it('names it then, in header and body', async () => {
    const { headers, body } = await app.inject('/failed-false');
    assert.equal(headers['x-request-id'], 'req_1');
    assert.equal(headers['x-should-retry'], undefined);
    assert.match(body, /"request_id":"req_1"/);
  });

  it('says that a repeated call would be answered alike', async () => {
    const { headers } = await app.inject('/failed-true');
    assert.equal(headers['x-should-retry'], 'false');
  });
});
