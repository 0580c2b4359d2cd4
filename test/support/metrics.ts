/** The values in Prometheus's text format, by name and labels as they are written. */
export function samplesOf(text: string): ReadonlyMap<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const end = line.lastIndexOf(' ');
      return [line.slice(0, end), Number(line.slice(end + 1))];
    }),
  );
}

/** Names, types and labels of what a text has, as `docs/monitoring.md` writes them. */
export function metricsOf(text: string): ReadonlyMap<string, string> {
  return new Map(
    [...text.matchAll(/^# TYPE (plx_\w+) (\w+)$/gm)].map(([, name = '', type = '']) => [
      name,
      type,
    ]),
  );
}
