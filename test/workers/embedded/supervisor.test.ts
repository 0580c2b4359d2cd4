import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { keepRunning, type KeepOptions, type Part } from '../../../workers/embedded/supervisor.ts';

/** A part whose ends the test chooses. */
class Starts {
  readonly ends: ((reason: string) => void)[] = [];
  readonly exits: string[] = [];
  readonly stopped: number[] = [];
  /** The next starts fail with these. */
  readonly failures: (string | undefined)[] = [];
  readonly off = new AbortController();
  gaveUp: string | undefined;

  options(changes: Partial<KeepOptions<Part>> = {}): KeepOptions<Part> {
    return {
      start: async (onEnd) => {
        const failure = this.failures.shift();
        if (failure !== undefined) throw new Error(failure);
        const pid = this.ends.push(onEnd);
        return { pid, stop: async () => void this.stopped.push(pid) };
      },
      signal: this.off.signal,
      onExit: (reason) => this.exits.push(reason),
      onGiveUp: (reason) => (this.gaveUp = reason),
      ...changes,
    };
  }

  /** Ends the part that runs. */
  end(reason: string): void {
    this.ends.at(-1)?.(reason);
  }
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await turn();
}

describe('keepRunning', () => {
  it('starts a part again that ended, and stops the one that runs', async () => {
    const starts = new Starts();
    const kept = await keepRunning(starts.options());
    starts.end('signal SIGKILL');
    await until(() => starts.ends.length === 2);
    await kept.up();
    assert.equal(kept.current().pid, 2);
    assert.deepEqual(starts.exits, ['signal SIGKILL']);
    await kept.stop();
    assert.deepEqual(starts.stopped, [2]);
  });

  it('throws what the first start throws', async () => {
    const starts = new Starts();
    starts.failures.push('no port');
    await assert.rejects(keepRunning(starts.options()), /no port/);
    assert.equal(starts.ends.length, 0);
  });

  it('gives up at the fifth end in a row, counting starts that fail', async () => {
    const starts = new Starts();
    const kept = await keepRunning(starts.options());
    starts.failures.push('second', 'third', undefined, 'fifth');
    starts.end('first');
    await until(() => starts.ends.length === 2);
    assert.deepEqual(starts.exits, ['first', 'second', 'third']);
    starts.end('fourth');
    await until(() => starts.gaveUp !== undefined);
    assert.deepEqual(starts.exits.slice(3), ['fourth']);
    assert.equal(starts.gaveUp, 'fifth');
    await kept.stop();
  }).timeout(30_000);

  it('begins to count anew after a healthy while', async () => {
    const starts = new Starts();
    const kept = await keepRunning(starts.options({ healthyMs: 0 }));
    for (let end = 1; end <= 8; end++) {
      starts.end(`end ${end}`);
      await until(() => starts.ends.length === end + 1);
    }
    assert.equal(starts.gaveUp, undefined);
    await kept.stop();
  });

  it('waits for what the part needs, and lets others wait for the part', async () => {
    const starts = new Starts();
    let serve: () => void = () => undefined;
    const served = new Promise<void>((resolve) => (serve = resolve));
    const kept = await keepRunning(starts.options({ ready: () => served }));
    starts.end('it crashed');
    await until(() => starts.exits.length === 1);
    let isUp = false;
    const up = kept.up().then(() => (isUp = true));
    for (let turns = 0; turns < 100; turns++) await turn();
    assert.equal(isUp, false);
    assert.equal(starts.ends.length, 1);
    serve();
    await up;
    assert.equal(starts.ends.length, 2);
    await kept.stop();
  });

  it('stops while it waits for what never comes', async () => {
    const starts = new Starts();
    const kept = await keepRunning(starts.options({ ready: () => new Promise(() => undefined) }));
    starts.end('it crashed');
    await until(() => starts.exits.length === 1);
    await kept.stop();
    assert.equal(starts.ends.length, 1);
  });

  it('starts nothing once the signal came', async () => {
    const starts = new Starts();
    const kept = await keepRunning(starts.options());
    starts.off.abort();
    starts.end('it ended');
    await kept.stop();
    assert.equal(starts.ends.length, 1);
    assert.deepEqual(starts.exits, []);
  });
});
