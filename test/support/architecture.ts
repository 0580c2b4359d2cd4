import { isBuiltin } from 'node:module';
import { posix } from 'node:path';
import type { SourceFile } from './source-files.ts';

/** What the files of one folder may do. */
export interface Row {
  /** Folders it may import, besides itself; `any but test` stands for all others. */
  readonly folders: readonly string[] | 'any but test' | 'any';
  /** Folders of which it may import types. */
  readonly typesOf?: readonly string[];
  /** Package specifiers, exactly or with a trailing `*`; `node:*` for Node's own modules. */
  readonly packages: readonly string[] | 'any';
  /** Packages of which it may import types. */
  readonly typesOfPackages?: readonly string[];
  /** Global members that it must not use, exactly or with a trailing `*`. */
  readonly forbiddenMembers?: readonly string[];
  /** Whether it may import what only running it tells. */
  readonly computedImports?: true;
  readonly mayBeAbsent?: true;
}

/** The table of design §2: a row for each folder with code. */
export type Table = Readonly<Record<string, Row>>;

export const FILE_LINES_MAX = 300;
export const LINE_COLUMNS_MAX = 100;
/** Temporal bundles workflows from one entry file. */
const BARRELS_ALLOWED: readonly string[] = ['workflows/index.ts'];

/** All that is wrong with a source tree: a sentence each, with the place first. */
export function violations(
  files: readonly SourceFile[],
  table: Table,
  steps: readonly string[],
): string[] {
  return [
    ...files.flatMap((file) => [...layoutFaults(file, table), ...codeFaults(file, table)]),
    ...Object.entries(table)
      .filter(
        ([folder, row]) => !row.mayBeAbsent && !files.some((file) => folderOf(file) === folder),
      )
      .map(([folder]) => `${folder}/: has a row in the table, but no file`),
    ...steps
      .filter((step) => !files.some(({ path }) => path === `protocol/${step}.ts`))
      .map((step) => `protocol/${step}.ts: is missing, and each step has one`),
  ];
}

function layoutFaults(file: SourceFile, table: Table): string[] {
  const { path, lines } = file;
  const faults: string[] = [];
  const folder = folderOf(file);
  if (folder && !table[folder]) faults.push(`${path}: ${folder}/ has no row in the table`);
  if (/(^|\/)index\.(ts|mjs)$/.test(path) && !BARRELS_ALLOWED.includes(path))
    faults.push(`${path}: is a barrel; import from the file that defines the name`);
  if (lines.length > FILE_LINES_MAX)
    faults.push(`${path}: has ${lines.length} lines, more than ${FILE_LINES_MAX}`);
  for (const [index, line] of lines.entries())
    // Characters, not UTF-16 units: an emoji is not two columns' worth of fault.
    if (Array.from(line).length > LINE_COLUMNS_MAX)
      faults.push(`${path}:${index + 1}: has more than ${LINE_COLUMNS_MAX} columns`);
  return faults;
}

function codeFaults(file: SourceFile, table: Table): string[] {
  const folder = folderOf(file);
  const row = table[folder];
  if (!row) return [];
  const imports = file.imports.flatMap(({ specifier, typeOnly, line }) => {
    const fault =
      specifier === null
        ? computedFault(row, folder)
        : specifier.startsWith('.')
          ? folderFault(row, folder, target(file, specifier), typeOnly)
          : packageFault(row, folder, specifier, typeOnly);
    return fault ? [`${file.path}:${line}: ${fault}`] : [];
  });
  const members = file.members
    .filter(({ name }) => matches(row.forbiddenMembers ?? [], name))
    .map(({ name, line }) => `${file.path}:${line}: ${folder} must not use ${name}`);
  return [...imports, ...members];
}

function computedFault(row: Row, folder: string): string | null {
  return row.computedImports ? null : `${folder} must not import what only running it tells`;
}

function folderFault(row: Row, from: string, to: string, typeOnly: boolean): string | null {
  if (to === from) return null;
  if (row.folders === 'any') return null;
  const allowed = row.folders === 'any but test' ? to !== 'test' : row.folders.includes(to);
  if (allowed) return null;
  if (!row.typesOf?.includes(to)) return `${from} must not import ${to}`;
  return typeOnly ? null : `${from} may only \`import type\` from ${to}`;
}

function packageFault(row: Row, from: string, specifier: string, typeOnly: boolean): string | null {
  const name =
    isBuiltin(specifier) && !specifier.startsWith('node:') ? `node:${specifier}` : specifier;
  if (row.packages === 'any' || matches(row.packages, name)) return null;
  if (!matches(row.typesOfPackages ?? [], name)) return `${from} must not import ${name}`;
  return typeOnly ? null : `${from} may only \`import type\` from ${name}`;
}

function matches(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) =>
    pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern,
  );
}

/** The first part of a path; '' for a file beside package.json. */
function folderOf({ path }: SourceFile): string {
  return path.includes('/') ? path.slice(0, path.indexOf('/')) : '';
}

function target({ path }: SourceFile, specifier: string): string {
  const resolved = posix.join(posix.dirname(path), specifier);
  return resolved.split('/')[0] ?? '';
}
