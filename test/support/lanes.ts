/**
 * Starts work in its order, no more than so many at once.
 *
 * @returns each one's end, by its key. Whoever wants to know of a failure has to wait for it.
 */
export function startInLanes<Key>(
  work: ReadonlyMap<Key, () => Promise<void>>,
  lanes: number,
): ReadonlyMap<Key, Promise<void>> {
  const queue: (() => void)[] = [];
  let free = lanes;
  const done = async (task: () => Promise<void>) => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => queue.push(resolve));
    try {
      await task();
    } finally {
      const next = queue.shift();
      if (next) next();
      else free += 1;
    }
  };
  const started = new Map([...work].map(([key, task]) => [key, done(task)]));
  for (const end of started.values()) end.catch(() => undefined);
  return started;
}
