import assert from 'node:assert/strict';
import { BackendFailedError } from '../../nodes/backends/backend.ts';
import { waitForBackend, watchHealth } from '../../nodes/health.ts';
import { until } from '../support/until.ts';

/** A log whose lines can be compared. */
function recorder() {
  const lines: string[] = [];
  return {
    lines,
    info: (message: string) => void lines.push(message),
    warn: (fields: object, message: string) =>
      void lines.push(`${message} ${JSON.stringify(fields)}`),
  };
}

describe('nodes/health waitForBackend', () => {
  it('tries until the backend is there, and says each time why it is not', async () => {
    const log = recorder();
    let tries = 0;
    const connect = async () => {
      tries += 1;
      if (tries < 4) throw new BackendFailedError(`try ${tries}`);
      return 'ready';
    };
    assert.equal(await waitForBackend(connect, log, 1), 'ready');
    const line = 'node // the backend is not ready, waiting for it';
    assert.deepEqual(log.lines, [
      `${line} {"error":"try 1","nextTryInSeconds":0.001}`,
      `${line} {"error":"try 2","nextTryInSeconds":0.002}`,
      `${line} {"error":"try 3","nextTryInSeconds":0.004}`,
    ]);
  });

  it('does not wait for what waiting cannot mend', async () => {
    const broken = async () => {
      throw new TypeError('a bug');
    };
    await assert.rejects(waitForBackend(broken, recorder(), 1), TypeError);
  });
});

describe('nodes/health watchHealth', () => {
  it('follows the backend down and up, and logs each change once', async () => {
    const log = recorder();
    let looks = 0;
    let failure: Error | undefined;
    const backend = {
      async health() {
        looks += 1;
        if (failure) throw failure;
      },
    };
    const watch = watchHealth(backend, log, 1);
    const looked = async () => {
      const before = looks;
      await until(() => looks > before + 2, 'it looks again');
    };
    assert.equal(watch.isHealthy(), true);
    await looked();
    failure = new BackendFailedError('gone');
    await looked();
    assert.equal(watch.isHealthy(), false);
    failure = undefined;
    await looked();
    assert.equal(watch.isHealthy(), true);
    await watch.stop();
    assert.deepEqual(log.lines, [
      'node // the backend is not healthy: no new work until it is back {"error":"gone"}',
      'node // the backend is back',
    ]);
    const atTheEnd = looks;
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(looks, atTheEnd);
  });
});
