import assert from 'node:assert/strict';
import { admitNode } from '../../intake/admission.ts';
import { formatNodeId } from '../../protocol/ids.ts';
import { prlx } from '../support/cli.ts';
import { ADMIN_KEY, startLoneGateway, type LoneGateway } from '../support/lone-gateway.ts';

describe('cli: nodes invite, nodes invites', function () {
  // Each line is a process of its own, and they start slowly on a busy machine.
  this.timeout(150_000);
  let gateway: LoneGateway;
  before(async () => {
    gateway = await startLoneGateway();
  });
  after(() => gateway.stop());

  const nodes = (...args: string[]) =>
    prlx(['nodes', ...args], { gatewayUrl: gateway.url, env: { PLX_ADMIN_KEY: ADMIN_KEY } });

  it('makes a token that lets nodes in, lists it without showing it, and ends it', async () => {
    const made = await nodes('invite', '--uses', '2', '--hours', '3');
    assert.equal(made.code, 0, made.stderr);
    const token = made.stdout.trim();
    const [, id = ''] = /^It lets in 2 nodes within 3 h, .* (jt_[0-9a-f]{8}) is its id\.\n$/.exec(
      made.stderr,
    ) as string[] & RegExpExecArray;
    const node = (fill: number) => formatNodeId(new Uint8Array(32).fill(fill));
    await admitNode(gateway.database, 'token', node(1), token);
    const list = await nodes('invites');
    assert.match(list.stdout, new RegExp(`^token .*\n${id} +1 node +.* ago +in 2 h\n$`));
    assert.ok(!list.stdout.includes(token));
    const ended = await nodes('invites', '--end', id);
    assert.equal(ended.code, 0, ended.stderr);
    assert.match(ended.stdout, /^jt_[0-9a-f]{64} lets nobody in any more\.\n$/);
    await assert.rejects(admitNode(gateway.database, 'token', node(2), token), {
      code: 'node.join_refused',
    });
    const none = await nodes('invites');
    assert.deepEqual([none.stdout, none.stderr], ['', 'No join token is in use.\n']);
    assert.equal((await nodes('invites', '--end', id)).code, 4);
  });

  it('speaks JSON', async () => {
    const made = await nodes('invite', '--json');
    const { id, token, uses_left: uses } = JSON.parse(made.stdout) as Record<string, unknown>;
    assert.deepEqual([made.stderr, uses, typeof token], ['', 1, 'string']);
    const list = JSON.parse((await nodes('invites', '--json')).stdout) as { data: object[] };
    assert.deepEqual(
      list.data.map((each) => Object.keys(each)),
      [['id', 'object', 'uses_left', 'created_at', 'expires_at']],
    );
    const ended = JSON.parse((await nodes('invites', '--end', String(id), '--json')).stdout);
    assert.deepEqual(ended, { id, object: 'join_token', ended: true });
  });

  it('takes no token for an id, and does not repeat it', async () => {
    const { code, stderr } = await nodes('invites', '--end', 'plx-join-secret');
    assert.equal(code, 2);
    assert.ok(!stderr.includes('plx-join-secret'));
  });

  it('needs an admin key', async () => {
    const { code, stderr } = await prlx(['nodes', 'invite'], { gatewayUrl: gateway.url });
    assert.equal(code, 3);
    assert.match(stderr, /\(cli\.no_admin_key\)/);
  });
});
