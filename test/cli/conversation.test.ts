import assert from 'node:assert/strict';
import { stripVTControlCharacters } from 'node:util';
import { startOnTerminal, type RunningCli } from '../support/cli.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { instantBackend } from '../../bench/instant-backend.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';

/** What a person on a terminal sees. */
describe('cli on a terminal', function () {
  // Each line is a process of its own, and they start slowly on a busy machine.
  this.timeout(150_000);
  let network: Coordination;
  const nodes: TestNode[] = [];
  before(async () => {
    network = await startCoordination();
    const { edge, database } = network;
    const at = { edge, database };
    // It says how many messages it was given, and the last one.
    const counting = instantBackend({
      answer: ({ messages }) => [`${messages.length}: `, messages.at(-1)?.content ?? ''],
    });
    nodes.push(await startTestNode({ ...at, backend: counting, name: 'quick', tier: 1 }));
    const slow = instantBackend({ pieceMs: 1_000 });
    nodes.push(await startTestNode({ ...at, backend: slow, name: 'slow', tier: 2 }));
  });
  after(async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await network.stop();
  });

  const start = (args: readonly string[], env: Record<string, string> = {}): RunningCli =>
    startOnTerminal(args, { gatewayUrl: network.gatewayUrl, env });
  const type = ({ child }: RunningCli, text: string) => void child.stdin?.write(text);
  /** Waits for the prompt to come for the n-th time. */
  const prompted = (running: RunningCli, times: number) =>
    running.until(new RegExp(`(you › [^]*){${times}}`));
  const seen = (running: RunningCli) => stripVTControlCharacters(running.output().stdout);

  it('holds a conversation: remembers it, forgets it, leaves', async () => {
    const chat = start(['chat', '--system', 'Be brief.']);
    await prompted(chat, 1);
    type(chat, 'first\r');
    await chat.until(/2: first[^]*tokens/);
    type(chat, 'second\r');
    await chat.until(/4: second[^]*tokens/);
    type(chat, '/nonsense\r');
    await chat.until(/No such command: \/nonsense/);
    type(chat, '/new\r');
    await chat.until(/A new conversation/);
    type(chat, 'third\r');
    await chat.until(/2: third[^]*tokens/);
    type(chat, '/exit\r');
    assert.equal((await chat.ended()).code, 0);
    assert.match(seen(chat), /req_[0-9a-f]{8} · node nd_[0-9a-f]{8} · \d+ \+ 2 tokens · /);
  });

  it('cancels the answer at Ctrl-C and goes on; at the prompt Ctrl-C leaves', async () => {
    const chat = start(['chat', '--tier', '2']);
    await prompted(chat, 1);
    type(chat, `${'word '.repeat(100)}\r`);
    await chat.until(/\n(word )+/);
    type(chat, '\x03');
    await chat.until(/The request was cancelled/);
    await prompted(chat, 2);
    const [request] = await network.database.request.findMany({
      orderBy: { acceptedAt: 'desc' },
      take: 1,
    });
    assert.equal(request?.status, 'cancelled');
    await chat.until(/\d PRLX[^]*you › /);
    type(chat, '\x03');
    assert.equal((await chat.ended()).code, 130);
  });

  it('redraws the nine steps in place, in colour, unless NO_COLOR is set', async () => {
    for (const [env, colour] of [
      [{}, true],
      [{ NO_COLOR: '1' }, false],
    ] as const) {
      const submit = start(['submit', 'alpha beta gamma delta', '--tier', '2'], env);
      const id = /req_[0-9a-f]{64}/.exec((await submit.ended()).stdout)?.[0] ?? '';
      const watch = start(['status', id, '--watch'], env);
      const { code, stdout } = await watch.ended();
      assert.equal(code, 0);
      assert.ok(stdout.includes('\u001b[11A'), 'the cursor goes up over the eleven lines');
      assert.equal(stdout.includes('\u001b[32m'), colour);
      assert.match(seen(watch), /5 {2}Execute +execution +running on nd_/);
      assert.match(seen(watch), /9 {2}Settle +coordination +done +[\d.]+/);
    }
  });
});
