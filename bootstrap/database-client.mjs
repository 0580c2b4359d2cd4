import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { lastLines, runCommand } from './command.mjs';
import { readOrNothing, writeAtomically } from './files.mjs';
import { BootstrapError } from './report.mjs';
import { storageAdvice, storageCodeIn } from './storage.mjs';

/**
 * The Prisma client in prisma/generated. "Done" means that `.bootstrap-stamp` in it, written last,
 * holds the digest of the schema, the configuration and Prisma's version.
 *
 * @param {import('./ensure.mjs').Context} context
 * @returns {Promise<import('./ensure.mjs').Step>}
 */
export async function databaseClientStep({ root, env }) {
  const stamp = join(root, 'prisma', 'generated', '.bootstrap-stamp');
  const prisma = join(root, 'node_modules', 'prisma');
  const wanted = await clientDigest(root, prisma);
  const needs = { what: 'the database client', folder: dirname(stamp), megabytes: 1 };
  return {
    label: 'Generating the database client (about 5 s)',
    needs,
    isDone: async () => (await readOrNothing(stamp)) === wanted,
    run: async ({ recordChild }) => {
      const args = [join(prisma, 'build', 'index.js'), 'generate'];
      const options = { cwd: root, env: generateEnv(env) };
      const onSpawn = (pid) => recordChild(pid, 'prisma');
      const { code, output } = await runCommand(process.execPath, args, { ...options, onSpawn });
      if (code !== 0) {
        const full = storageCodeIn(output);
        throw new BootstrapError(
          `The database client could not be generated: \`prisma generate\` failed with\n` +
            `${lastLines(output, 10)}\n` +
            (full === undefined
              ? 'Correct prisma/schema.prisma, then run the same again.'
              : await storageAdvice(full, needs.folder, needs)),
        );
      }
      await writeAtomically(stamp, wanted);
    },
  };
}

async function clientDigest(root, prisma) {
  const schema = await readOrNothing(join(root, 'prisma', 'schema.prisma'));
  if (schema === undefined)
    throw new BootstrapError(
      `prisma/schema.prisma is missing from ${root}: this clone is incomplete. Restore it with ` +
        '`git checkout -- prisma`.',
    );
  const config = (await readOrNothing(join(root, 'prisma.config.ts'))) ?? '';
  const { version } = JSON.parse((await readOrNothing(join(prisma, 'package.json'))) ?? '{}');
  return createHash('sha256').update([schema, config, version].join('\0')).digest('hex');
}

/**
 * `prisma generate` insists on finding its schema engine, a binary that it downloads, although this
 * generator never runs it. Any existing file satisfies it, so that no download is needed. A set
 * variable is left alone, and `prisma migrate`, which does run the engine, must never get this one.
 */
function generateEnv(env) {
  const engine = env.PRISMA_SCHEMA_ENGINE_BINARY || process.execPath;
  // The check for updates is a request to the network, too.
  return { ...env, PRISMA_SCHEMA_ENGINE_BINARY: engine, CHECKPOINT_DISABLE: '1' };
}
