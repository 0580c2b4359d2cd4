import { readFile, writeFile } from 'node:fs/promises';
import { format, resolveConfig } from 'prettier';

/** Lines of a document between which a program writes; the rest is written by people. */
export interface Marks {
  readonly begin: string;
  readonly end: string;
}

/** Puts a report between the marks of a Markdown file. Throws if they aren't there. */
export async function writeBetween(
  path: string,
  { begin, end }: Marks,
  report: string,
): Promise<void> {
  const text = await readFile(path, 'utf8');
  const [before, rest] = text.split(begin);
  const after = rest?.split(end)[1];
  if (before === undefined || after === undefined)
    throw new Error(`${path} lacks the lines ${begin} and ${end}`);
  const marked = `${before}${begin}\n\n${report}\n\n${end}${after}`;
  const options = await resolveConfig(path);
  await writeFile(path, await format(marked, { ...options, filepath: path }));
}
