import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadOrCreateNodeKeys } from '../../../crypto/key-files.ts';
import { operatorAddress, readOperatorKey } from '../../../crypto/operator.ts';
import { bindingSigner } from '../../../protocol/binding.ts';
import { readBinding } from '../../../workers/binding-file.ts';
import {
  bindEmbeddedNode,
  demoAccount,
  embeddedOperator,
} from '../../../workers/embedded/operators.ts';

describe('workers/embedded/operators', function () {
  this.timeout(30_000);
  let keys: string;
  before(async () => {
    keys = await mkdtemp(join(tmpdir(), 'plx-operators-'));
  });
  after(() => rm(keys, { recursive: true }));

  it('draws an operator’s key once, however many ask, and keeps it from others', async () => {
    const all = await Promise.all([1, 2, 3, 4].map(() => embeddedOperator(keys, 'operator-a')));
    const [first, ...others] = all;
    assert.ok(first);
    for (const other of [...others, await embeddedOperator(keys, 'operator-a')])
      assert.deepEqual(other, first);
    assert.notEqual((await embeddedOperator(keys, 'operator-b')).address, first.address);
    const { mode } = await stat(join(keys, 'operators', 'operator-a'));
    assert.equal(mode & 0o777, 0o600);
  });

  it('draws the key of the demo account once, in a file for whoever signs in', async () => {
    const address = await demoAccount(keys);
    assert.equal(await demoAccount(keys), address);
    const file = join(keys, 'demo-account');
    const key = await readOperatorKey(file);
    assert.equal(key && operatorAddress(key), address);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
  });

  it('binds a node to its operator, by the keys that the node will find', async () => {
    const node = { name: 'node-1', operator: 'operator-a' };
    const path = await bindEmbeddedNode(keys, node);
    const { nodeId } = await loadOrCreateNodeKeys(join(keys, 'node-1'));
    const { address } = await embeddedOperator(keys, 'operator-a');
    assert.equal(await bindingSigner(31_337, nodeId, await readBinding(path, nodeId)), address);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    const before = await readFile(join(keys, 'node-1', 'node-keys.json'), 'utf8');
    await bindEmbeddedNode(keys, node);
    assert.equal(await readFile(join(keys, 'node-1', 'node-keys.json'), 'utf8'), before);
  });
});
