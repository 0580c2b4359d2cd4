import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prlx, startPrlx, type CliResult } from '../support/cli.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { instantBackend } from '../../bench/instant-backend.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';

const REQUEST_ID = /^req_[0-9a-f]{64}$/;
/** Minutes of work for the slow node, which is the only one of tier 2. */
const LONG = ['word '.repeat(200), '--tier', '2'];

interface RequestJson {
  readonly id: string;
  readonly status: string;
  readonly result: { readonly choices: { readonly message: { readonly content: string } }[] };
}

describe('cli: chat, submit, status, cancel', function () {
  // Each line is a process of its own, and they start slowly on a busy machine.
  this.timeout(150_000);
  let network: Coordination;
  let directory: string;
  const nodes: TestNode[] = [];
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-cli-'));
    network = await startCoordination();
    const { edge, database } = network;
    const at = { edge, database };
    nodes.push(await startTestNode({ ...at, backend: instantBackend(), name: 'quick', tier: 1 }));
    const slow = instantBackend({ pieceMs: 1_000 });
    nodes.push(await startTestNode({ ...at, backend: slow, name: 'slow', tier: 2 }));
  });
  after(async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await network.stop();
    await rm(directory, { recursive: true });
  });

  const run = (args: readonly string[], input = ''): Promise<CliResult> =>
    prlx(args, { gatewayUrl: network.gatewayUrl, input });
  const json = ({ stdout }: CliResult) => JSON.parse(stdout) as RequestJson;
  async function submitted(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await run(['submit', ...args]);
    assert.equal(code, 0, stderr);
    assert.match(stdout.trimEnd(), REQUEST_ID);
    return stdout.trimEnd();
  }

  it('chat prints the answer and nothing else on stdout, what it cost on stderr', async () => {
    const { code, stdout, stderr } = await run(['chat', 'alpha beta gamma', '--seed', '7']);
    assert.deepEqual([code, stdout], [0, 'alpha beta gamma\n']);
    assert.match(
      stderr,
      /^req_[0-9a-f]{8} · node nd_[0-9a-f]{8} · 1 \+ 3 tokens · 0\.0000013 PRLX · [\d.]+ s\n$/,
    );
  });

  it('chat takes its prompt from a pipe, and its options go along', async () => {
    const { stdout } = await run(['chat', '--max-tokens', '2'], 'one two three\n');
    assert.equal(stdout, 'one two \n');
    const id = (await run(['status', '--json'])).stdout;
    const { data } = JSON.parse(id) as { data: { max_tokens: number }[] };
    assert.equal(data[0]?.max_tokens, 2);
  });

  it('chat does not let a model steer the terminal', async () => {
    const { stdout } = await run(['chat', 'a\u001b[2Jb \u001b c']);
    assert.equal(stdout, 'ab  c\n');
  });

  it('chat --json prints one object: the request with its result', async () => {
    const result = await run(['chat', 'alpha beta', '--json']);
    const request = json(result);
    assert.equal(result.stdout.trimEnd().split('\n').length, 1);
    assert.deepEqual([request.status, result.stderr], ['completed', '']);
    assert.equal(request.result.choices[0]?.message.content, 'alpha beta');
  });

  it('chat fails with 1 and the code when the request fails', async () => {
    const { code, stdout, stderr } = await run(['chat', 'x', '--tier', '5', '--deadline', '1']);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, /No node that can serve .* lower tier .*\(capacity_unavailable\)/);
  });

  it('chat cancels the request itself at the first Ctrl-C', async () => {
    const chat = startPrlx(['chat', ...LONG], { gatewayUrl: network.gatewayUrl });
    await chat.until(/word/);
    chat.child.kill('SIGINT');
    const { code, stderr } = await chat.ended();
    assert.equal(code, 130, stderr);
    assert.match(stderr, /Cancelling …[^]*\(execute\.cancelled\)/);
    const [request] = await network.database.request.findMany({
      orderBy: { acceptedAt: 'desc' },
      take: 1,
    });
    assert.equal(request?.status, 'cancelled');
  });

  it('submit prints the id, which status and others take, also shortened', async () => {
    const id = await submitted('alpha beta');
    await network.ended(id);
    for (const name of [id, id.slice(0, 12)]) {
      const { code, stdout } = await run(['status', name]);
      assert.equal(code, 0);
      assert.match(stdout, / 5 {2}Execute +execution +done on nd_[0-9a-f]{8} +[\d.]+\n/);
      assert.match(stdout, / 9 {2}Settle +coordination +done +[\d.]+\n/);
      assert.ok(stdout.includes(`Request  ${id}\nStatus   completed\n`));
      assert.ok(stdout.endsWith('\n\nalpha beta\n'), stdout);
    }
  });

  it('submit takes a body from a file or stdin, which options change', async () => {
    const file = join(directory, 'body.json');
    const messages = [{ role: 'user', content: 'one two three' }];
    const body = JSON.stringify({ model: 'instant', max_tokens: 1, messages });
    await writeFile(file, body);
    const args = ['submit', '--wait', '--json'];
    const one = await run([...args, '--file', file]);
    assert.equal(json(one).result.choices[0]?.message.content, 'one ');
    const two = await run([...args, '-f', '-', '--max-tokens', '2'], body);
    assert.equal(json(two).result.choices[0]?.message.content, 'one two ');
    const both = await run(['submit', 'prompt', '--file', file]);
    assert.equal(both.code, 2);
    const absent = await run(['submit', '--file', join(directory, 'none.json')]);
    assert.deepEqual([absent.code, absent.stdout], [2, '']);
    assert.match(absent.stderr, /none\.json can't be read/);
  });

  it('submit --wait keeps stdout for the id, and says by its exit code how it ended', async () => {
    const good = await run(['submit', 'alpha', '--wait']);
    assert.equal(good.code, 0);
    assert.match(good.stdout.trimEnd(), REQUEST_ID);
    assert.match(good.stderr, /9 Settle: done\n[^]*Status {3}completed/);
    const bad = await run(['submit', 'alpha', '--wait', '--tier', '5', '--deadline', '1']);
    assert.equal(bad.code, 1);
    assert.match(bad.stderr, /Schedule: failed: schedule\.deadline_elapsed/);
  });

  it('status --watch follows the steps live, a line for each change', async () => {
    const id = await submitted(...LONG);
    const watch = startPrlx(['status', id, '--watch'], { gatewayUrl: network.gatewayUrl });
    await watch.until(/ {2}5 Execute: running on nd_[0-9a-f]{8}\n/);
    assert.doesNotMatch(watch.output().stdout, /Settle/);
    assert.equal((await run(['cancel', id])).code, 0);
    const { code, stdout } = await watch.ended();
    assert.equal(code, 1, 'it did not complete');
    assert.match(stdout, /5 Execute: failed: execute\.cancelled/);
    assert.match(stdout, /9 Settle: done/);
    assert.match(stdout, /Status {3}cancelled \(execute\.cancelled\)/);
    assert.doesNotMatch(stdout, /\p{Cc}(?<!\n)/u, 'it is no terminal');
  });

  it('status --watch --json prints a line for each change, and the end last', async () => {
    const id = await submitted('alpha');
    const { stdout } = await run(['status', id, '--watch', '--json']);
    const lines = stdout.trimEnd().split('\n');
    assert.equal((JSON.parse(lines.at(-1) ?? '') as RequestJson).status, 'completed');
    assert.equal(new Set(lines).size, lines.length);
  });

  it('status --watch leaves at Ctrl-C, and the request goes on', async () => {
    const id = await submitted(...LONG);
    const watch = startPrlx(['status', id, '--watch'], { gatewayUrl: network.gatewayUrl });
    await watch.until(/Execute: running/);
    watch.child.kill('SIGINT');
    const { code, stderr } = await watch.ended();
    assert.equal(code, 130);
    assert.match(stderr, new RegExp(`prlx cancel ${id.slice(0, 12)}`));
    const row = await network.database.request.findUniqueOrThrow({ where: { id } });
    assert.equal(row.finishedAt, null);
    await run(['cancel', id]);
  });

  it('cancel says what it did, twice the same, and refuses what has ended', async () => {
    const id = await submitted(...LONG);
    for (const name of [id, id.slice(0, 14)]) {
      const { code, stdout } = await run(['cancel', name]);
      assert.deepEqual([code, stdout], [0, `${id} is cancelled, and free.\n`]);
    }
    assert.equal(json(await run(['cancel', id, '--json'])).status, 'cancelled');
    const done = await submitted('alpha');
    await network.ended(done);
    const late = await run(['cancel', done]);
    assert.equal(late.code, 1);
    assert.match(late.stderr, /It is completed\. \(gateway\.request_ended\)/);
  });

  it('status lists recent requests, page by page', async () => {
    const id = await submitted('alpha');
    await network.ended(id);
    const { stdout, stderr } = await run(['status', '--limit', '2']);
    const [head, first, second, ...rest] = stdout.trimEnd().split('\n');
    assert.match(
      head ?? '',
      /^request +status +model +priority +accepted +took +node +check +charged$/,
    );
    assert.match(first ?? '', new RegExp(`^${id.slice(0, 12)} +completed +instant +standard +`));
    assert.ok(second);
    assert.deepEqual(rest, []);
    const more = /prlx (status --after \S+)/.exec(stderr)?.[1]?.split(' ') ?? [];
    const next = await run([...more, '--limit', '1']);
    assert.equal(next.code, 0, next.stderr);
    assert.ok(!next.stdout.includes(second.slice(0, 12)));
    const failed = await run(['status', '--status', 'failed', '--json']);
    const { data } = JSON.parse(failed.stdout) as { data: RequestJson[] };
    assert.ok(data.length > 0 && data.every(({ status }) => status === 'failed'));
  });

  it('an id that nothing or much begins like is refused', async () => {
    const none = await run(['status', `req_${'0'.repeat(20)}`]);
    assert.equal(none.code, 4);
    assert.match(none.stderr, /None of the \d+ most recent requests/);
    assert.equal((await run(['status', `req_${'0'.repeat(64)}`])).code, 4);
    const { id } = await network.database.request.findFirstOrThrow();
    // Another one that begins alike.
    const twin = id.slice(0, 40) + (id.endsWith('0'.repeat(28)) ? '1' : '0').repeat(28);
    await network.database.$executeRaw`
      INSERT INTO request SELECT (jsonb_populate_record(request,
        jsonb_build_object('id', ${twin}::text, 'intake_key', ${twin}::text))).*
      FROM request WHERE id = ${id}`;
    const both = await run(['status', id.slice(0, 30)]);
    assert.equal(both.code, 2);
    assert.ok(both.stderr.includes(id) && both.stderr.includes(twin));
  });
});
