import { stdout } from 'node:process';

/** A failure that a person can mend: its message says what happened, what was tried, what to do. */
export class BootstrapError extends Error {
  /** @param {string} message @param {{ cause?: unknown }} [options] */
  constructor(message, options) {
    super(message, options);
    this.name = 'BootstrapError';
  }
}

const TICK_TTY_MS = 1_000;
const TICK_LOG_MS = 10_000;

/**
 * Prints one line per piece of work: `▸ label …` with the elapsed seconds and the progress while it
 * runs (ticking in place on a terminal, a line every 10 s elsewhere), `✓ label 41 s` at its end,
 * `✗` if it failed.
 *
 * @param {{ write(text: string): unknown, isTTY?: boolean }} [output]
 */
export function createReport(output = stdout) {
  const isTTY = output.isTTY === true;
  const clear = isTTY ? '\r\x1b[K' : '';

  /**
   * @template T
   * @param {string} label what is done, and in brackets about how long it takes.
   * @param {(progress: (text: string) => void) => Promise<T>} work tells how far it is, such as
   *   `23 of 45 MB`, as often as it likes.
   * @returns {Promise<T>}
   */
  async function step(label, work) {
    const startedAt = Date.now();
    const seconds = () => Math.round((Date.now() - startedAt) / 1_000);
    output.write(`▸ ${label} …${isTTY ? '' : '\n'}`);
    let reached = '';
    const tick = () =>
      output.write(
        isTTY
          ? `${clear}▸ ${label} … ${seconds()} s${reached}`
          : `  … still at it after ${seconds()} s${reached}\n`,
      );
    const progress = (text) => {
      reached = `, ${text}`;
    };
    const timer = setInterval(tick, isTTY ? TICK_TTY_MS : TICK_LOG_MS);
    try {
      const result = await work(progress);
      output.write(`${clear}✓ ${label.replace(/ \(about .*\)$/, '')} ${seconds()} s\n`);
      return result;
    } catch (error) {
      output.write(`${clear}✗ ${label} failed after ${seconds()} s\n`);
      throw error;
    } finally {
      clearInterval(timer);
    }
  }

  /** @param {string} text one line that reports no work, such as why something is done again. */
  const note = (text) => void output.write(`${clear}  ${text}\n`);

  return { step, note };
}
