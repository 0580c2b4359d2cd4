import { EXIT } from './errors.ts';

/** npm passes a terminal's Ctrl-C on as well, so that one keypress can arrive twice. */
const SAME_KEYPRESS_MS = 500;

/**
 * Runs work that Ctrl-C cancels: the first one aborts the signal, and the work ends in its own
 * time; the second one leaves at once.
 *
 * @param onFirst told of the first one.
 */
export async function interruptible<T>(
  work: (cancel: AbortSignal) => Promise<T>,
  onFirst: () => void,
): Promise<T> {
  const cancel = new AbortController();
  let firstAtMs = 0;
  const onInterrupt = () => {
    if (!cancel.signal.aborted) {
      firstAtMs = Date.now();
      onFirst();
      cancel.abort();
    } else if (Date.now() - firstAtMs > SAME_KEYPRESS_MS) process.exit(EXIT.interrupted);
  };
  process.on('SIGINT', onInterrupt);
  try {
    return await work(cancel.signal);
  } finally {
    process.off('SIGINT', onInterrupt);
  }
}

/** Says something before Ctrl-C leaves. @returns ends that. */
export function onInterruptSay(say: () => void): () => void {
  const onInterrupt = () => {
    say();
    process.exit(EXIT.interrupted);
  };
  process.once('SIGINT', onInterrupt);
  return () => void process.off('SIGINT', onInterrupt);
}
