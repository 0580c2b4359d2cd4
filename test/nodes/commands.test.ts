import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { generateNodeKeys, type NodeKeys } from '../../crypto/keys.ts';
import { Attempts } from '../../nodes/attempts.ts';
import { Channel } from '../../nodes/channel.ts';
import { listenForCommands, type CommandListener } from '../../nodes/commands.ts';
import { formatRequestId } from '../../protocol/ids.ts';
import { startFakeEdge, type FakeEdge } from '../support/fake-edge.ts';
import { until } from '../support/until.ts';

const quiet = { info: () => {}, warn: () => {} };
const unitId = formatRequestId(randomBytes(32));

/** A coordinator that may say anything. */
describe('nodes/commands', () => {
  let edge: FakeEdge;
  let keys: NodeKeys;
  let listener: CommandListener | undefined;
  let status = 200;
  let asked = 0;
  const open: ServerResponse[] = [];

  before(async () => {
    keys = await generateNodeKeys();
    edge = await startFakeEdge(keys, (request, response) => {
      assert.equal(request.url, '/v1/node/commands');
      asked += 1;
      if (status === 200) {
        open.push(response);
        response.write('{"type":"ping"}\n');
      } else response.writeHead(status).end();
    });
  });
  beforeEach(() => {
    status = 200;
    asked = 0;
    open.length = 0;
  });
  afterEach(() => listener?.stop());
  after(() => edge.close());

  function listen(attempts: Attempts): void {
    listener = listenForCommands(new Channel(edge.access, keys), attempts, quiet);
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

  it('connects again after an end, a refusal and a flood', async () => {
    const attempts = new Attempts();
    listen(attempts);
    await until(() => open.length === 1, 'the first connection');
    status = 403;
    open[0]?.end();
    await until(() => asked > 1, 'a refused connection');
    await until(() => listener?.isConnected() === false, 'it knows that it is not connected');
    status = 200;
    await until(() => open.length === 2, 'the second connection');
    open[1]?.write('x'.repeat(10_000));
    await until(() => open.length === 3, 'a connection in place of the flooded one');
    const running = attempts.begin({ unitId, dispatch: 1 });
    open[2]?.write(`{"type":"cancel","unitId":"${unitId}","dispatch":1}\n`);
    await until(() => running.signal.aborted, 'it is cancelled');
  });
});
