import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';

const ROOT = join(import.meta.dirname, '..', '..');

/** Bundles a workflow file, and says with a failure what the bundler logged about it. */
async function bundle(workflowsPath: string): Promise<string> {
  const complaints: string[] = [];
  const logger = new DefaultLogger('WARN', ({ message }) => complaints.push(message));
  try {
    const { code } = await bundleWorkflowCode({
      workflowsPath,
      logger,
      // Fixtures lie outside the project, so they wouldn't find its packages.
      webpackConfigHook: (config) => {
        config.resolve?.modules?.push(join(ROOT, 'node_modules'));
        return config;
      },
    });
    // The source map repeats the sources, comments included.
    return code.slice(0, code.lastIndexOf('//# sourceMappingURL='));
  } catch (cause) {
    throw new Error([String(cause), ...complaints].join('\n'), { cause });
  }
}

/** Bundles the text of a workflow. */
async function bundleSource(source: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'workflow-'));
  try {
    const file = join(directory, 'workflow.ts');
    await writeFile(file, source);
    return await bundle(file);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Names of the packages that a bundle holds modules of. */
function packagesIn(code: string): string[] {
  const names = [...code.matchAll(/node_modules\/((?:@[\w.-]+\/)?[\w.-]+)\//g)];
  return [...new Set(names.map(([, name = '']) => name))];
}

describe('workflows bundle', () => {
  it('can be made, without zod and without node:crypto', async () => {
    const code = await bundle(join(ROOT, 'workflows', 'index.ts'));
    const packages = packagesIn(code);
    assert.ok(packages.includes('@temporalio/workflow'), packages.join(', '));
    assert.ok(code.includes('protocol/lifecycle.ts'), 'the bundle has no module of protocol/');
    assert.ok(!packages.includes('zod'), packages.join(', '));
    assert.doesNotMatch(code, /['"]node:crypto['"]|require\(['"]crypto['"]\)/);
  });

  it('shows a package that a workflow imports', async () => {
    const code = await bundleSource(
      "import { z } from 'zod';\nexport const read = async () => z.string().parse('');",
    );
    assert.ok(packagesIn(code).includes('zod'), packagesIn(code).join(', '));
  });

  const refusals: [string, RegExp][] = [
    ['node:crypto', /ERROR in node:crypto\n/],
    ['crypto', /disallowed modules:\n {2}- 'crypto'/],
  ];
  for (const [module, message] of refusals)
    it(`is refused for a workflow that imports ${module}`, async () => {
      const source = [
        `import { randomBytes } from '${module}';`,
        "export const draw = async () => randomBytes(4).toString('hex');",
      ];
      await assert.rejects(bundleSource(source.join('\n')), message);
    });

  it('tells what is wrong with a workflow that can not be read', async () => {
    await assert.rejects(
      bundleSource('export const draw = ;'),
      /workflow\.ts[^]*Expression expected/,
    );
  });
});
