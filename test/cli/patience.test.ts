import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { Api } from '../../cli/api.ts';
import { CliError } from '../../cli/errors.ts';
import { settledRequest } from '../../cli/request.ts';
import { watchRequest } from '../../cli/watch.ts';
import { requestView, startGatewayStub, type GatewayStub } from '../support/gateway-stub.ts';
import { freePort } from '../support/servers.ts';

const ID = `req_${'a'.repeat(64)}`;
const QUICK = { outageMsMax: 200, pauseMs: 1 };
/** Never used up by a test that is to succeed, on however busy a machine. */
const LONG = { outageMsMax: 60_000, pauseMs: 1 };
const RUNNING = requestView({ status: 'running', finished_at: null });

type Turn = 'broken' | 'truncated' | 'unavailable' | 'away' | 'refused' | object;

describe('cli/patience', () => {
  let gateway: GatewayStub;
  let turns: Turn[] = [];
  let asked = 0;
  before(async () => {
    gateway = await startGatewayStub((_path, response) => {
      // The last one stays.
      const turn = turns[Math.min(asked++, turns.length - 1)];
      const refuse = (status: number, code: string) => {
        response.statusCode = status;
        response.end(JSON.stringify({ error: { code, message: 'Not now.' } }));
      };
      if (turn === 'broken') response.destroy();
      else if (turn === 'truncated') {
        response.setHeader('content-length', '1000');
        response.write('{');
        setImmediate(() => response.destroy());
      } else if (turn === 'unavailable') refuse(503, 'gateway.coordinator_unreachable');
      else if (turn === 'away') {
        response.statusCode = 503;
        response.end('<html>');
      } else if (turn === 'refused') refuse(404, 'gateway.request_not_found');
      else response.end(JSON.stringify(turn));
    });
  });
  after(() => gateway.stop());

  async function watched(patience: object, given: Turn[], isTTY = false, url = gateway.url) {
    [turns, asked] = [given, 0];
    const seen = { out: '', notes: '' };
    const terminal = (name: keyof typeof seen) => ({
      write: (text: string) => void (seen[name] += text),
      style: (_format: unknown, text: string) => text,
    });
    const stream = Object.assign(new PassThrough(), { isTTY, columns: 60 });
    stream.on('data', (bytes: Buffer) => (seen.out += bytes.toString()));
    const context = {
      api: new Api({ url, key: 'key' }),
      json: false,
      out: terminal('out'),
      notes: terminal('notes'),
    };
    const options = {
      stream: stream as unknown as NodeJS.WriteStream,
      silent: false,
      patience: { ...LONG, ...patience },
    };
    const listeners = process.listenerCount('SIGINT');
    const end = await watchRequest(context, ID, options).catch((error: unknown) => error);
    assert.equal(process.listenerCount('SIGINT'), listeners, 'Ctrl-C is as it was');
    return { end, ...seen };
  }

  it('bears a gateway that is away while it watches, and says so once', async () => {
    const { end, out, notes } = await watched({}, [
      RUNNING,
      'broken',
      'truncated',
      'unavailable',
      'away',
      requestView(),
    ]);
    assert.equal((end as { status: string }).status, 'completed');
    assert.equal(asked, 6);
    assert.match(notes, /^The gateway .* doesn't answer .*Asking again for up to 60 s …\n$/);
    assert.match(out, /Status {3}completed/);
  });

  it('says it on the screen, in a line that the next drawing takes away', async () => {
    const given: Turn[] = [RUNNING, 'unavailable', requestView()];
    const { out, notes } = await watched({}, given, true);
    assert.equal(notes, '');
    assert.match(out, /\nNot now\. \(gateway\.coordinator_unreachable\) Asking/);
    // A line for the request, the head, nine steps, and the note.
    assert.ok(out.includes('\u001b[12A'), JSON.stringify(out));
  });

  it('fails as ever when the gateway stays away', async () => {
    const unavailable = await watched(QUICK, ['unavailable']);
    assert.ok(unavailable.end instanceof CliError);
    assert.equal(unavailable.end.code, 'gateway.coordinator_unreachable');
    assert.ok(asked > 1);
    const url = `http://127.0.0.1:${await freePort()}`;
    const nowhere = await watched(QUICK, [RUNNING], false, url);
    assert.ok(nowhere.end instanceof CliError);
    assert.equal(nowhere.end.code, 'cli.gateway_unreachable');
    assert.equal(nowhere.notes.split('\n').length, 2, 'one note');
  });

  it('fails at once when asking again is of no use', async () => {
    const { end, notes } = await watched({}, ['refused', requestView()]);
    assert.ok(end instanceof CliError);
    assert.deepEqual([end.code, notes, asked], ['gateway.request_not_found', '', 1]);
  });

  it('bears it after an answer, too', async () => {
    [turns, asked] = [['broken', 'unavailable', requestView()], 0];
    const said: string[] = [];
    const api = new Api({ url: gateway.url, key: 'key' });
    const request = await settledRequest(api, ID, (line) => said.push(line), LONG);
    assert.deepEqual([request.status, said.length, asked], ['completed', 1, 3]);
    [turns, asked] = [['unavailable'], 0];
    await assert.rejects(
      settledRequest(api, ID, () => {}, QUICK),
      CliError,
    );
  });
});
