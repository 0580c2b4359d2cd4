import assert from 'node:assert/strict';
import { prlx } from '../support/cli.ts';
import { addPoolNode } from '../support/pool.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { instantBackend } from '../../bench/instant-backend.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';

describe('cli: nodes, explain', function () {
  // Each line is a process of its own, and they start slowly on a busy machine.
  this.timeout(150_000);
  let network: Coordination;
  let node: TestNode;
  before(async () => {
    network = await startCoordination();
    const { edge, database } = network;
    const backend = instantBackend();
    const at = { edge, database, backend };
    node = await startTestNode({ ...at, name: 'machine-1', tier: 1 });
  });
  after(async () => {
    await node.stop();
    await network.stop();
  });

  const run = (...args: string[]) => prlx(args, { gatewayUrl: network.gatewayUrl });
  const short = () => node.keys.nodeId.slice(0, 11);

  it('nodes lists the pool', async () => {
    const { code, stdout } = await run('nodes');
    assert.equal(code, 0);
    const [head, row, ...rest] = stdout.trimEnd().split('\n');
    assert.equal(
      head?.split(/ {2,}/).join(),
      'node,name,operator,tier,model,state,free,tok/s,seen,flags',
    );
    assert.match(
      row ?? '',
      new RegExp(`^${short()} +machine-1 +operator-machine-1 +1 +instant +online +4 of 4 +\\d+ `),
    );
    assert.deepEqual(rest, []);
  });

  it('nodes shows one, by name or shortened id', async () => {
    for (const name of ['machine-1', short()]) {
      const { code, stdout } = await run('nodes', name);
      assert.equal(code, 0);
      assert.ok(stdout.startsWith(`Node     ${node.keys.nodeId}\nName     machine-1, of `));
    }
    const page = (await run('nodes', 'machine-1')).stdout;
    assert.match(page, /^Tier {5}1; it claims 1\nModel/m);
    assert.match(page, /^Speed .* measured by the network; it claims 1000\.0$/m);
    const { stdout } = await run('nodes', 'machine-1', '--json');
    assert.equal((JSON.parse(stdout) as { id: string }).id, node.keys.nodeId);
    const none = await run('nodes', 'machine-2');
    assert.equal(none.code, 4);
  });

  it('nodes and explain show a removed one by its whole id', async () => {
    const nodeId = await addPoolNode(network.database, { name: 'gone', status: 'removed' });
    assert.match((await run('nodes', nodeId)).stdout, /State {4}removed, last heartbeat/);
    assert.match(
      (await run('explain', nodeId)).stdout,
      /removed from the pool, .*`prlx nodes review`.*\(removed\)/,
    );
    assert.equal((await run('nodes', 'gone')).code, 4);
    assert.ok(!(await run('nodes')).stdout.includes('gone'));
    assert.equal((await run('nodes', `nd_${'0'.repeat(64)}`)).code, 4);
  });

  it('explain says where a waiting request stands, and why no node takes it', async () => {
    const submitted = await run('submit', 'alpha', '--tier', '4', '--max-tokens', '9');
    const id = submitted.stdout.trimEnd();
    const untilMs = Date.now() + 30_000;
    let text = '';
    while (!text.includes('has waited for a node')) {
      assert.ok(Date.now() < untilMs, text);
      text = (await run('explain', id)).stdout;
    }
    assert.match(text, /as number 1 of 1 in the queue; it fails in .* without one\./);
    assert.match(text, /It asks for instant, tier 4 or up, \d+ tokens within 120 s\./);
    assert.match(
      text,
      new RegExp(`${short()} +machine-1 +tier +Its tier is 1; tier 4 or up was asked for\\.`),
    );
    await run('cancel', id);
    const after = await run('explain', id.slice(0, 14));
    assert.match(after.stdout, /is cancelled: .*\(execute\.cancelled\)/);
    const { stdout } = await run('explain', id, '--json');
    assert.equal((JSON.parse(stdout) as { object: string }).object, 'request.explanation');
  });

  it('explain shows the attempts of a request', async () => {
    const { stdout } = await run('chat', 'alpha', '--json');
    const { id } = JSON.parse(stdout) as { id: string };
    const explained = await run('explain', id);
    assert.match(
      explained.stdout,
      new RegExp(`\\n1 +${short()} +machine-1 +accepted +Its return was accepted\\.\n`),
    );
  });

  it('explain says why a node has no work', async () => {
    const { code, stdout } = await run('explain', 'machine-1');
    assert.equal(code, 0);
    assert.match(stdout, /- No request waits: .*\(nothing_waits\)/);
    assert.match(stdout, /when +event +meaning\n[^]* ago +node\.online +It is online\./);
    assert.equal((await run('explain', 'sub_123')).code, 2);
  });
});
