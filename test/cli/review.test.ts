import assert from 'node:assert/strict';
import { prlx } from '../support/cli.ts';
import { publishEpochs, storeDraw, storeRequest, storeVerification } from '../support/drawn.ts';
import { ADMIN_KEY, startLoneGateway, type LoneGateway } from '../support/lone-gateway.ts';
import { addPoolNode } from '../support/pool.ts';

describe('cli: nodes review, nodes reinstate, audit sampling', function () {
  // Each line is a process of its own, and they start slowly on a busy machine.
  this.timeout(150_000);
  let gateway: LoneGateway;
  let liar: string;
  before(async () => {
    gateway = await startLoneGateway();
    const { database } = gateway;
    liar = await addPoolNode(database, { name: 'liar', status: 'removed' });
    await database.nodeReview.create({
      data: { nodeId: liar, decision: 'removed', code: 'node.removed_wrong_results' },
    });
    await database.nodeTrust.create({
      data: { nodeId: liar, workloadClass: 'ai.inference', checked: 12, logRatio: 13.5 },
    });
    const unitId = await storeRequest(database);
    const code = 'validate.minority';
    await database.nodeEvent.create({ data: { nodeId: liar, unitId, dispatch: 1, code } });
    await storeVerification(database, unitId, 'overruled');
    await database.vote.create({ data: { unitId, dispatch: 1, nodeId: liar, side: 'minority' } });
    await publishEpochs(database, 5);
    for (let index = 0; index < 12; index++) {
      const id = await storeRequest(database);
      const { isSampled } = await storeDraw(database, id, 1 + (index % 2));
      if (isSampled) await storeVerification(database, id, 'agreed', ['majority', 'majority']);
    }
  });
  after(() => gateway.stop());

  const admin = (...args: string[]) =>
    prlx(args, { gatewayUrl: gateway.url, env: { PLX_ADMIN_KEY: ADMIN_KEY } });
  const account = (...args: string[]) => prlx(args, { gatewayUrl: gateway.url });

  it('audit recomputes every draw, and says that it found nothing', async () => {
    const { code, stdout, stderr } = await admin('audit', 'sampling');
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /^5 epochs were published, and the secrets of 2 are revealed\.\n\nepoch /);
    assert.match(stdout, /\n1 +6 +\d +3\.0 /);
    assert.match(stdout, /\nAll 12 draws were recomputed, and are what was published\.\n$/);
    const one = await account('audit', 'sampling', '--epoch', '2', '--json');
    const audit = JSON.parse(one.stdout) as { scope: string; epochs: { draws: number }[] };
    assert.deepEqual([one.code, audit.scope, audit.epochs[0]?.draws], [0, 'account', 6]);
    const early = await admin('audit', 'sampling', '--epoch', '4');
    assert.equal(early.code, 1);
    assert.match(early.stderr, /not published yet\. .*\(gateway\.epoch_not_revealed\)/);
    assert.equal((await admin('audit', 'sampling', '--epoch', '9')).code, 4);
  });

  it('audit lists every mismatch, and exits with 1', async () => {
    const { database } = gateway;
    const forged = await storeRequest(database);
    await storeDraw(database, forged, 1, { draw: 'f'.repeat(64), isSampled: false });
    const cheap = await storeRequest(database);
    await storeDraw(database, cheap, 2, { ratePpm: 1, isSampled: false });
    const { code, stdout } = await admin('audit', 'sampling');
    assert.equal(code, 1);
    assert.ok(stdout.includes(`epoch 1, ${forged}, attempt 1: another draw follows`), stdout);
    assert.ok(stdout.includes(`epoch 2, ${cheap}, attempt 1: a rate of 1 ppm is none`), stdout);
    assert.match(stdout, /\n2 mismatches\.\n$/);
    const { mismatches } = JSON.parse((await admin('audit', 'sampling', '--json')).stdout) as {
      mismatches: string[];
    };
    assert.equal(mismatches.length, 2);
  });

  it('nodes review lists who was removed and why, and all that is known of one', async () => {
    const { code, stdout } = await admin('nodes', 'review');
    assert.equal(code, 0);
    const [head, row] = stdout.trimEnd().split('\n');
    assert.equal(head?.split(/ {2,}/).join(), 'node,name,operator,status,flags,trust,why');
    assert.match(
      row ?? '',
      /liar +op +removed +1 validate\.minority +12 checked, ratio 13\.5 +The node/,
    );
    for (const name of ['liar', liar.slice(0, 11), liar]) {
      const page = await admin('nodes', 'review', name);
      assert.equal(page.code, 0, page.stderr);
      assert.ok(page.stdout.startsWith(`Node     ${liar}\nName     liar, of op\n`));
      assert.match(page.stdout, /removed +the network +The node lost too many votes/);
      assert.match(page.stdout, /minority +req_[0-9a-f]{8} +1 +overruled\n/);
    }
    assert.equal((await admin('nodes', 'review', 'honest')).code, 4);
  });

  it('nodes review and reinstate need an admin key', async () => {
    const without = await account('nodes', 'review');
    assert.equal(without.code, 3);
    assert.match(without.stderr, /No admin key for .*PLX_ADMIN_KEY[^]*\(cli\.no_admin_key\)/);
    const other = await account('nodes', 'review', '--key', 'plx-test-key-0123456789');
    assert.equal(other.code, 1);
    assert.match(other.stderr, /\(gateway\.admin_required\)/);
  });

  it('nodes reinstate lets a node in again, with a reason, once', async () => {
    assert.equal((await admin('nodes', 'reinstate', 'liar')).code, 2);
    const args = ['nodes', 'reinstate', 'liar', '--reason', 'New memory.'];
    const { code, stdout } = await admin(...args);
    assert.deepEqual([code, stdout.startsWith(`${liar} is probing: `)], [0, true]);
    const page = (await admin('nodes', 'review', liar)).stdout;
    assert.match(page, /reinstated +acct_demo +New memory\.\n/);
    const again = await admin('nodes', 'reinstate', liar, '--reason', 'Once more.');
    assert.equal(again.code, 1);
    assert.match(again.stderr, /It is probing\. \(gateway\.node_not_removed\)/);
    assert.match((await admin('nodes', 'review')).stderr, /No node was removed, and none is/);
  });

  it('status shows in a word how each request was checked, and in a sentence for one', async () => {
    const { stdout } = await account('status', '--limit', '3');
    assert.match(stdout.split('\n')[0] ?? '', / node +check +charged$/);
    const id = await storeRequest(gateway.database, {
      status: 'invalidated',
      failureCode: 'validate.overruled',
    });
    await storeDraw(gateway.database, id, 3, { isSampled: true });
    const sides = ['minority', 'majority', 'majority'];
    await storeVerification(gateway.database, id, 'overruled', sides);
    const list = (await account('status', '--limit', '1')).stdout;
    assert.match(list, /invalidated: validate\.overruled .* overruled +0 PRLX\n$/);
    const page = (await account('status', id)).stdout;
    assert.match(page, /\nCheck {4}Randomly checked: 2 of 3 nodes have another result than/);
  });
});
