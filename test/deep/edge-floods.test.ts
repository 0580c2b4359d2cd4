import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { outcomeOf, type Scene } from '../../bench/attacks/attack.ts';
import { fromOneAddress, handshakeFlood, inLanes, pollFlood } from '../../bench/attacks/floods.ts';
import { exchange, exchangeInClear } from '../../bench/attacks/raw.ts';
import { hugeFrame, rapidReset, slowly } from '../../bench/attacks/transport.ts';
import { startAttackScene, type AttackScene } from '../support/attack-scene.ts';

const QUIET_MS = 8_000;
const FLOOD_MS_MIN = 8_000;
const LANES = 2;
/** What an edge may need more while it is flooded. */
const RSS_MIB_MORE_MAX = 256;
const PATIENCE_MS = 45_000;

/** One stranger floods an edge, from one address, while an honest node beside it has work. */
describe('deep: floods of an edge', function () {
  this.timeout(300_000);
  let attacked: AttackScene;
  let scene: Scene;
  let quietPerSecond = 0;
  let quietMib = 0;

  before(async () => {
    attacked = await startAttackScene();
    scene = { ...attacked.scene, edge: fromOneAddress(attacked.scene.edge) };
    await honestTraffic(sleep(2_000));
    quietPerSecond = await honestTraffic(sleep(QUIET_MS));
    quietMib = await rssMib(attacked.edgePid);
  });
  after(() => attacked.stop());

  /** Requests, one after the other in each lane, until something is over. @returns how many/s. */
  async function honestTraffic(until: Promise<unknown>): Promise<number> {
    const over = new AbortController();
    let completed = 0;
    void until.then(
      () => over.abort(),
      () => over.abort(),
    );
    const beganMs = performance.now();
    const lane = async () => {
      while (!over.signal.aborted) {
        assert.equal(await attacked.ask(), 200);
        completed += 1;
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    return completed / ((performance.now() - beganMs) / 1_000);
  }

  /** Honest traffic during a flood, and what the edge needed for it. */
  async function during(name: string, flood: () => Promise<string>): Promise<void> {
    const flooding = flood();
    // What is over at once is measured for as long as what isn't.
    const perSecond = await honestTraffic(Promise.all([flooding, sleep(FLOOD_MS_MIN)]));
    const outcome = await flooding;
    const mib = await rssMib(attacked.edgePid);
    const ratio = (perSecond / quietPerSecond).toFixed(2);
    console.log(
      `      ${name}: ${outcome}. Honest requests at ${ratio} of ${quietPerSecond.toFixed(1)}/s, ` +
        `edge ${quietMib} → ${mib} MiB`,
    );
    assert.ok(perSecond > 0);
    assert.ok(mib < quietMib + RSS_MIB_MORE_MAX, `${mib} MiB`);
  }

  it('10,000 polls', () =>
    during('10,000 polls', async () =>
      counts(await pollFlood(scene.edge, attacked.stranger, 10_000)),
    ));

  it('500 handshakes a second', () =>
    during('500 handshakes a second', async () =>
      counts(await handshakeFlood(scene.edge, 500, 10)),
    ));

  it('calls begun and reset', () =>
    during('100 times 2,000 calls begun and reset', async () =>
      counts(await inLanes(4, 100, async () => outcomeOf(await rapidReset(scene, 2_000)))),
    ));

  it('slow bodies', () =>
    during('200 slow bodies', async () => {
      const head =
        'POST /v1/node/heartbeat HTTP/1.1\r\nhost: localhost\r\n' +
        'content-type: application/json\r\ncontent-length: 1000\r\n\r\n';
      const { credentials } = scene.stranger;
      const options = { credentials, patienceMs: PATIENCE_MS, untilClosed: true };
      const told = await inLanes(200, 200, async () =>
        outcomeOf(await exchange(scene.edge, slowly(head), options)),
      );
      assert.ok(!told.includes('silent'), counts(told));
      return counts(told);
    }));

  it('half-open connections', () =>
    during('200 half-open connections', async () => {
      const hello = Buffer.from([22, 3, 1, 2, 0, 1, 0, 1]);
      const told = await inLanes(200, 200, async () =>
        outcomeOf(await exchangeInClear(scene.edge, hello, { patienceMs: PATIENCE_MS })),
      );
      assert.deepEqual([...new Set(told)], ['closed']);
      return counts(told);
    }));

  it('frames that are larger than any may be', () =>
    during('8 huge frames', async () => {
      const told = await inLanes(8, 8, async () => outcomeOf(await hugeFrame(scene, PATIENCE_MS)));
      assert.deepEqual([...new Set(told)], ['closed']);
      return counts(told);
    }));

  it('has counted them, and serves on', async () => {
    const refused = await attacked.refused();
    for (const code of ['edge.too_many', 'edge.too_slow', 'edge.unauthenticated'])
      assert.ok((refused.get(code) ?? 0) > 0, code);
    assert.equal(await attacked.ask(), 200);
  });
});

function counts(outcomes: readonly string[]): string {
  const each = [...new Set(outcomes)].map(
    (outcome) => `${outcome} ${outcomes.filter((other) => other === outcome).length}`,
  );
  return each.join(', ');
}

async function rssMib(pid: number): Promise<number> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'rss=', '-p', String(pid)]);
  return Math.round(Number(stdout) / 1_024);
}
