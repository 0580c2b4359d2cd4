import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { generateNodeKeys, type NodeKeys } from '../../crypto/keys.ts';
import { Attempts } from '../../nodes/attempts.ts';
import { Channel } from '../../nodes/channel.ts';
import { listenForCommands, type CommandListener } from '../../nodes/commands.ts';
import { formatRequestId } from '../../protocol/ids.ts';
import { until } from '../support/until.ts';

const quiet = { info: () => {}, warn: () => {} };
const unitId = formatRequestId(randomBytes(32));

/** A coordinator that may say anything. */
describe('nodes/commands', () => {
  let server: Server;
  let url: string;
  let keys: NodeKeys;
  let listener: CommandListener | undefined;
  let token = 'first';
  let status = 200;
  const tokens: (string | undefined)[] = [];
  const open: ServerResponse[] = [];

  before(async () => {
    keys = await generateNodeKeys();
    server = createServer((request, response) => {
      assert.equal(request.url, `/v1/nodes/${keys.nodeId}/commands`);
      tokens.push(request.headers.authorization);
      if (status === 200) {
        open.push(response);
        response.write('{"type":"ping"}\n');
      } else response.writeHead(status).end();
    });
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  beforeEach(() => {
    token = 'first';
    status = 200;
    tokens.length = 0;
    open.length = 0;
  });
  afterEach(() => listener?.stop());
  after(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  });

  function listen(attempts: Attempts): void {
    const channel = new Channel(url, keys);
    const membership = { heartbeatToken: () => token };
    listener = listenForCommands(channel, membership, attempts, quiet);
  }

  it('obeys what is a command about its work, and passes over the rest', async () => {
    const attempts = new Attempts();
    const mine = attempts.begin({ unitId, dispatch: 1 });
    const other = attempts.begin({ unitId, dispatch: 2 });
    listen(attempts);
    await until(() => listener?.isConnected() === true, 'it is connected');
    const commands = [
      'nonsense',
      '[]',
      '{"type":"explode"}',
      '{"type":"cancel"}',
      `{"type":"cancel","unitId":"req_short","dispatch":1}`,
      `{"type":"cancel","unitId":"${unitId}","dispatch":"2"}`,
      `{"type":"cancel","unitId":"${formatRequestId(randomBytes(32))}","dispatch":2}`,
      `{"type":"cancel","unitId":"${unitId}","dispatch":1}`,
    ];
    open[0]?.write(commands.map((line) => `${line}\n`).join(''));
    await until(() => mine.signal.aborted, 'it is cancelled');
    assert.equal(other.signal.aborted, false);
    assert.equal(open.length, 1, 'nothing of it broke the stream');
  });

  it('connects again, with its token of then, after an end, a refusal and a flood', async () => {
    const attempts = new Attempts();
    listen(attempts);
    await until(() => open.length === 1, 'the first connection');
    status = 403;
    token = 'second';
    open[0]?.end();
    await until(() => tokens.length > 1, 'a refused connection');
    await until(() => listener?.isConnected() === false, 'it knows that it is not connected');
    status = 200;
    await until(() => open.length === 2, 'the second connection');
    assert.deepEqual([tokens.at(0), tokens.at(-1)], ['Bearer first', 'Bearer second']);
    open[1]?.write('x'.repeat(10_000));
    await until(() => open.length === 3, 'a connection in place of the flooded one');
    const running = attempts.begin({ unitId, dispatch: 1 });
    open[2]?.write(`{"type":"cancel","unitId":"${unitId}","dispatch":1}\n`);
    await until(() => running.signal.aborted, 'it is cancelled');
  });
});
