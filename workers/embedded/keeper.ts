import { join } from 'node:path';
import { diskHint } from './disk.ts';
import { lastLogLines } from './server.ts';
import { keepRunning, type KeepOptions, type Kept, type Part } from './supervisor.ts';

export interface KeeperOptions {
  readonly dataDir: string;
  readonly onProgress: (part: string, state: 'starting' | 'up') => void;
  readonly onExit: (part: string, reason: string) => void;
  readonly signal?: AbortSignal;
}

/** What a part may announce once it is ready. */
type Announcing = Part & { readonly ready?: Readonly<Record<string, unknown>> };

/** The parts of one network, each kept running, by name. */
export class Keeper {
  /** Resolves when a part keeps ending, with its last words. */
  readonly failed: Promise<Error>;
  readonly #options: KeeperOptions;
  readonly #parts = new Map<string, Kept<Announcing>>();
  readonly #failure = new AbortController();
  readonly #signal: AbortSignal;
  #fail: (error: Error) => void = () => undefined;

  constructor(options: KeeperOptions) {
    this.#options = options;
    const { signal } = options;
    this.#signal = AbortSignal.any([...(signal ? [signal] : []), this.#failure.signal]);
    this.failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
  }

  /** Starts a part, the first time and whenever it ends. */
  async keep<P extends Announcing>(
    name: string,
    how: Pick<KeepOptions<P>, 'start' | 'ready'>,
  ): Promise<Kept<P>> {
    const { onProgress, onExit } = this.#options;
    onProgress(name, 'starting');
    const part = await keepRunning<P>({
      ...how,
      signal: this.#signal,
      onExit: (reason) => onExit(name, reason),
      onUp: () => onProgress(name, 'up'),
      onGiveUp: (reason) => void this.#giveUp(name, reason),
    });
    this.#parts.set(name, part);
    onProgress(name, 'up');
    return part;
  }

  names(): string[] {
    return [...this.#parts.keys()];
  }

  current(name: string): Announcing {
    const part = this.#parts.get(name);
    if (!part) throw new Error(`This network has no part called ${name}`);
    return part.current();
  }

  /** Resolves once all of these run. */
  async up(names: readonly string[]): Promise<void> {
    for (const name of names) await this.#parts.get(name)?.up();
  }

  /** Gives up what is still starting once one fails, and waits for all before it throws. */
  async allOrNone(work: readonly Promise<unknown>[]): Promise<void> {
    const first = Promise.all(work).catch((error: unknown) => {
      this.#failure.abort();
      throw error;
    });
    await Promise.allSettled([first, ...work]);
    await first;
  }

  async #giveUp(name: string, reason: string): Promise<void> {
    const { dataDir } = this.#options;
    const logFile = join(dataDir, 'logs', `${name}.log`);
    const [lines, hint] = await Promise.all([
      reason.includes(logFile) ? '' : lastLogLines(logFile).catch(String),
      diskHint(dataDir).catch(String),
    ]);
    const text = [`${name} keeps ending, so the network stops (at last: ${reason}).`, lines, hint];
    this.#fail(new Error(text.filter((line) => line !== '').join('\n')));
  }
}
