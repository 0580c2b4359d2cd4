import assert from 'node:assert/strict';
import { prlx } from '../support/cli.ts';
import { requestView, startGatewayStub, type GatewayStub } from '../support/gateway-stub.ts';

const ID = `req_${'a'.repeat(64)}`;
const DELTA = 'data: {"choices":[{"delta":{"content":"Hello"}}]}\n\n';
const STEERING = /[^\P{Cc}\n]|\p{Bidi_Control}/u;
const DONE = 'data: [DONE]\n\n';

/** What `chat` makes of streams that no gateway sends as long as all is well. */
describe('cli/answer', function () {
  // Each line is a process of its own, and they start slowly on a busy machine.
  this.timeout(150_000);
  let gateway: GatewayStub;
  let stream = '';
  let record = {};
  let refusal: object | undefined;
  before(async () => {
    gateway = await startGatewayStub((path, response) => {
      if (!path.startsWith('POST')) response.end(JSON.stringify(requestView(record)));
      else if (path === 'POST /v1/requests') response.end('{"id":"req_\\u001b[31m1"}');
      else if (refusal) {
        response.statusCode = 400;
        response.end(JSON.stringify(refusal));
      } else {
        response.setHeader('x-request-id', ID);
        response.end(stream);
      }
    });
  });
  after(() => gateway.stop());

  function chat(sent: string, ended: object = {}, ...options: string[]) {
    stream = sent;
    record = ended;
    return prlx(['chat', 'Hi', '--model', 'instant', ...options], { gatewayUrl: gateway.url });
  }

  it('takes an answer that says it is done', async () => {
    const { code, stdout, stderr } = await chat(DELTA + DONE);
    assert.deepEqual([code, stdout], [0, 'Hello\n'], stderr);
  });

  it('does not take a stream that just ends for an answer', async () => {
    const { code, stdout, stderr } = await chat(DELTA);
    assert.deepEqual([code, stdout], [3, 'Hello']);
    assert.match(stderr, new RegExp(`prlx status ${ID} --watch.*\\(cli\\.stream_broken\\)`));
  });

  it('shows no failure of a stream raw, nor an id', async () => {
    const error = { code: 'a.b\u001b[2J', message: 'No\u202e\u009b2J.' };
    const failed = await chat(`data: ${JSON.stringify({ error })}\n\n${DONE}`);
    assert.equal(failed.code, 1);
    assert.match(failed.stderr, /^prlx: No\. \(a\.b\)\n/);
    assert.doesNotMatch(failed.stderr, STEERING);
    refusal = { error };
    const refused = await chat('');
    refusal = undefined;
    assert.equal(refused.stderr, 'prlx: No. (a.b)\n');
    const { stdout } = await prlx(['submit', 'Hi', '--model', 'instant'], {
      gatewayUrl: gateway.url,
    });
    assert.equal(stdout, 'req_1\n');
  });

  it('fails when the record says so, though the stream did not', async () => {
    const error = { code: 'execute.cancelled', message: 'It was cancelled.' };
    const ended = { status: 'cancelled', error };
    const { code, stderr } = await chat(DELTA + DONE, ended);
    assert.equal(code, 1);
    assert.match(stderr, /prlx: It was cancelled\. \(execute\.cancelled\)/);
    assert.equal((await chat(DELTA + DONE, ended, '--json')).code, 1);
    const odd = await chat(DELTA + DONE, { status: 'running' });
    assert.equal(odd.code, 1);
    assert.match(odd.stderr, /the request is running[^]*\(cli\.not_completed\)/);
    assert.equal((await chat(DELTA + DONE, { status: 'validated' })).code, 0);
  });

  it('says what a cancelled stream has cost', async () => {
    stream = JSON.stringify(requestView({ status: 'cancelled', charged_wei: '500000000000' }));
    const { code, stdout } = await prlx(['cancel', ID], { gatewayUrl: gateway.url });
    const said = `${ID} is cancelled, and cost 0.0000005 PRLX for what was streamed.\n`;
    assert.deepEqual([code, stdout], [0, said]);
  });
});
