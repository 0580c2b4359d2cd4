import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Parser, ParserOptions } from 'prettier';
import { parsers } from 'prettier/plugins/typescript';

/** One import of a source file, in whichever form it is written. */
export interface Import {
  /** As written; null for an `import()` whose argument is computed. */
  readonly specifier: string | null;
  /** Gone at run time. `import { type X }` is not: it still loads the module. */
  readonly typeOnly: boolean;
  readonly line: number;
}

/** Something that a file does at a line. */
export interface Use {
  readonly name: string;
  readonly line: number;
}

/** What the architecture's rules look at. */
export interface SourceFile {
  /** From the root, with `/`. */
  readonly path: string;
  readonly lines: readonly string[];
  readonly imports: readonly Import[];
  /** Members of global objects, such as `Date.now`. */
  readonly members: readonly Use[];
}

interface SyntaxNode {
  readonly type: string;
  readonly loc: { readonly start: { readonly line: number } };
  readonly [key: string]: unknown;
}

const parser: Parser<SyntaxNode> = parsers.typescript;

/**
 * Reads and parses every `.ts` and `.mjs` file below a directory. Fixtures end in `.txt` besides,
 * so that no other tool takes their faults for the project's.
 *
 * @param isSkipped takes a path from the root, of a file or directory.
 */
export async function readSources(
  root: string,
  isSkipped: (path: string) => boolean,
): Promise<SourceFile[]> {
  const files: SourceFile[] = [];
  const directories = [''];
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    for (const entry of await readdir(join(root, directory), { withFileTypes: true })) {
      const path = directory ? `${directory}/${entry.name}` : entry.name;
      if (isSkipped(path)) continue;
      if (entry.isDirectory()) directories.push(path);
      else if (/\.(ts|mjs)(\.txt)?$/.test(path))
        files.push(await parseSource(path.replace(/\.txt$/, ''), join(root, path)));
    }
  }
  return files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

async function parseSource(path: string, file: string): Promise<SourceFile> {
  const text = await readFile(file, 'utf8');
  // The parser asks for nothing but the path, which tells TypeScript from JavaScript.
  const tree = await parser.parse(text, { filepath: path } as ParserOptions<SyntaxNode>);
  const imports: Import[] = [];
  const members: Use[] = [];
  for (const node of nodesOf(tree)) {
    const found = importOf(node);
    if (found) imports.push(found);
    const name = memberOf(node);
    if (name) members.push({ name, line: node.loc.start.line });
  }
  return { path, lines: text.replace(/\n$/, '').split('\n'), imports, members };
}

function* nodesOf(value: unknown): Generator<SyntaxNode> {
  if (Array.isArray(value)) for (const member of value) yield* nodesOf(member);
  if (!isNode(value)) return;
  yield value;
  for (const [key, member] of Object.entries(value)) if (key !== 'loc') yield* nodesOf(member);
}

function importOf(node: SyntaxNode): Import | undefined {
  const { line } = node.loc.start;
  const specifier = literal(node['source']);
  switch (node.type) {
    case 'ImportDeclaration':
      return { specifier, typeOnly: node['importKind'] === 'type', line };
    case 'ExportAllDeclaration':
      return { specifier, typeOnly: node['exportKind'] === 'type', line };
    case 'ExportNamedDeclaration':
      return node['source']
        ? { specifier, typeOnly: node['exportKind'] === 'type', line }
        : undefined;
    case 'TSImportType':
      return { specifier, typeOnly: true, line };
    case 'ImportExpression':
      return { specifier, typeOnly: false, line };
    default:
      return undefined;
  }
}

/** `Date.now`, `Date['now']` and `globalThis.Date.now` alike; `new Date()` reads the clock too. */
function memberOf(node: SyntaxNode): string | undefined {
  if (node.type === 'NewExpression' && nameOf(node['callee']) === 'Date')
    return Array.isArray(node['arguments']) && node['arguments'].length === 0
      ? 'new Date()'
      : undefined;
  if (node.type !== 'MemberExpression' || !isNode(node['object'])) return undefined;
  const property = node['computed'] ? literal(node['property']) : nameOf(node['property']);
  const object = nameOf(node['object']) ?? memberOf(node['object']);
  if (!property || !object) return undefined;
  return `${object}.${property}`.replace(/^globalThis\.(?=.*\.)/, '');
}

function literal(value: unknown): string | null {
  return isNode(value) && typeof value['value'] === 'string' ? value['value'] : null;
}

function nameOf(value: unknown): string | undefined {
  return isNode(value) && value.type === 'Identifier' ? String(value['name']) : undefined;
}

function isNode(value: unknown): value is SyntaxNode {
  return typeof value === 'object' && value !== null && 'type' in value && 'loc' in value;
}
