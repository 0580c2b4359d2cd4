import { setTimeout as sleep } from 'node:timers/promises';

/** A server or a role that runs. */
export interface Part {
  readonly pid: number;
  stop(): Promise<void>;
}

export interface KeepOptions<P extends Part> {
  /**
   * Starts the part, the first time and again; it must call `onEnd` when the part ends without
   * being stopped, and give up when the signal comes.
   */
  readonly start: (onEnd: (reason: string) => void, signal: AbortSignal) => Promise<P>;
  /** Awaited before the part is started again, such as for the servers that it uses. */
  readonly ready?: () => Promise<unknown>;
  /** From then on nothing is started any more. */
  readonly signal: AbortSignal;
  /** Told of each end that is mended by a new start. */
  readonly onExit: (reason: string) => void;
  /** Told when the part is up again. */
  readonly onUp?: () => void;
  /** Told that it keeps ending, and isn't started any more. */
  readonly onGiveUp: (reason: string) => void;
  /** A part that ran this long counts as mended; 60,000 by default. */
  readonly healthyMs?: number;
}

/** A part that is started again whenever it ends by itself. */
export interface Kept<P extends Part> {
  current(): P;
  /** Resolves once the part runs, at once if it does. Never rejects. */
  up(): Promise<void>;
  stop(): Promise<void>;
}

const ENDS_MAX = 5;
const BACK_OFF_MS = [0, 500, 1_000, 2_000];
const HEALTHY_MS = 60_000;

/**
 * Starts a part and keeps it running: it is started again when it ends by itself, later each time,
 * and at most four times in a row without a healthy minute in between.
 *
 * @throws whatever the first start throws; that one isn't repeated.
 */
export async function keepRunning<P extends Part>(options: KeepOptions<P>): Promise<Kept<P>> {
  const { onExit, onUp, onGiveUp, healthyMs = HEALTHY_MS } = options;
  const stopping = new AbortController();
  const signal = AbortSignal.any([options.signal, stopping.signal]);
  const isOver = aborted(signal);
  let running = await startOnce();
  let up: Promise<void> = Promise.resolve();

  async function startOnce() {
    let onEnd: (reason: string) => void = () => undefined;
    const ended = new Promise<string>((resolve) => {
      onEnd = resolve;
    });
    const part = await options.start((reason) => onEnd(reason), signal);
    return { part, ended, sinceMs: performance.now() };
  }

  /** Counts on over attempts that fail. @returns whether it runs again. */
  async function startAgain(firstReason: string, firstEnds: number): Promise<number | undefined> {
    let reason = firstReason;
    for (let ends = firstEnds; ends < ENDS_MAX; ends++) {
      onExit(reason);
      try {
        await sleep(BACK_OFF_MS[ends - 1] ?? BACK_OFF_MS.at(-1), undefined, { signal });
        // What it waits for may stop after it, or never come back.
        await Promise.race([options.ready?.(), isOver]);
        signal.throwIfAborted();
        running = await startOnce();
        onUp?.();
        return ends;
      } catch (error) {
        if (signal.aborted) return undefined;
        reason = error instanceof Error ? error.message : String(error);
      }
    }
    onGiveUp(reason);
    return undefined;
  }

  async function watch(): Promise<void> {
    for (let ends: number | undefined = 0; ends !== undefined;) {
      const reason = await Promise.race([running.ended, isOver]);
      if (reason === undefined || signal.aborted) return;
      const wasHealthy = performance.now() - running.sinceMs >= healthyMs;
      const restarted = startAgain(reason, wasHealthy ? 1 : ends + 1);
      // Who waits for a part that is given up waits until the network stops.
      up = restarted.then((again) => (again === undefined ? isOver : undefined));
      ends = await restarted;
    }
  }

  const watching = watch();
  return {
    current: () => running.part,
    up: () => up,
    async stop() {
      stopping.abort();
      await watching;
      await running.part.stop();
    },
  };
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}
