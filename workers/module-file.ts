import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The path of another module of this project, for whoever has to start or bundle it as a file. It
 * has the same ending as the one that asks: `.ts` from the sources, `.js` from a build.
 *
 * @param name relative to `from`, without its ending, such as `../workflows/index`.
 * @param from `import.meta.url`.
 */
export function moduleFile(name: string, from: string): string {
  return fileURLToPath(new URL(`${name}${extname(from)}`, from));
}
