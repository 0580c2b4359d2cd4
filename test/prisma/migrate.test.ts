import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { Prisma } from '../../prisma/generated/client.ts';
import { migrate } from '../../prisma/migrate.ts';
import { emptyDatabase, freshDatabase, type TestDatabase } from '../support/servers.ts';

const PRISMA = join(import.meta.dirname, '../../prisma');

describe('prisma/migrate', () => {
  let db: TestDatabase;
  let directory: string;
  before(async () => {
    db = await freshDatabase();
    directory = await mkdtemp(join(tmpdir(), 'plx-migrate-'));
    await cp(join(PRISMA, 'migrations'), join(directory, 'migrations'), { recursive: true });
  });
  after(async () => {
    await db.close();
    await rm(directory, { recursive: true });
  });

  async function add(name: string, sql: string) {
    await mkdir(join(directory, 'migrations', name), { recursive: true });
    await writeFile(join(directory, 'migrations', name, 'migration.sql'), sql);
  }

  it('applies nothing that is there already, also when several start at once', async () => {
    assert.deepEqual(await migrate(db.url), []);
    await add('0900_once', 'CREATE TABLE once (id INT)');
    const applied = await Promise.all([1, 2, 3].map(() => migrate(db.url, directory)));
    assert.deepEqual(applied.flat(), ['0900_once']);
  });

  it('rolls a failing migration back whole, and says which one it was', async () => {
    await add('0901_broken', 'CREATE TABLE half (id INT); SELECT nonsense;');
    await assert.rejects(migrate(db.url, directory), /0901_broken failed and was rolled back/);
    const client = new Client({ connectionString: db.url });
    await client.connect();
    const { rows } = await client.query("SELECT to_regclass('half') AS found");
    await client.end();
    assert.deepEqual(rows, [{ found: null }]);
    await rm(join(directory, 'migrations', '0901_broken'), { recursive: true });
  });

  it('refuses an applied migration that was edited since', async () => {
    await add('0900_once', 'CREATE TABLE twice (id INT)');
    await assert.rejects(migrate(db.url, directory), /0900_once was edited/);
  });

  it('gives the nodes of an older network their operators', async () => {
    const old = join(directory, 'old');
    const place = 'migrations/0001_init';
    await cp(join(PRISMA, place), join(old, place), { recursive: true });
    const url = await emptyDatabase();
    await migrate(url, old);
    const client = new Client({ connectionString: url });
    await client.connect();
    const add = (id: string, operator: string) =>
      client.query(
        `INSERT INTO node (id, name, operator_id, tier, model_id, model_digest, engine,
                           tokens_per_second, signing_key, encryption_key)
         VALUES ($1, $1, $2, 1, 'm', 'd', 'e', 1, '', '')`,
        [id, operator],
      );
    for (const [id, operator] of [
      ['n1', 'a'],
      ['n2', 'b'],
      ['n3', 'a'],
    ] as const)
      await add(id, operator);
    await migrate(url);
    const { rows } = await client.query<{ id: string; operator: string }>(
      `SELECT node.id, operator.name AS operator
       FROM node JOIN operator ON operator.id = node.operator_id ORDER BY node.id`,
    );
    const rename = client.query(`UPDATE node SET operator_id = 'nobody'`);
    await assert.rejects(rename, /node_operator_id_fkey/);
    await client.end();
    assert.deepEqual(
      rows.map(({ id, operator }) => [id, operator]),
      [
        ['n1', 'a'],
        ['n2', 'b'],
        ['n3', 'a'],
      ],
    );
  });

  it('makes exactly the columns that the Prisma schema has', async () => {
    const rows = await db.database.$queryRaw<{ name: string }[]>`
      SELECT table_name || '.' || column_name AS name FROM information_schema.columns
      WHERE table_schema = 'public' AND table_name <> '_prisma_migrations'`;
    const migrated = rows.map(({ name }) => name).filter((name) => !name.startsWith('once.'));
    const declared = Object.values(Prisma.ModelName).flatMap((model) => columnsOf(model));
    assert.deepEqual(migrated.toSorted(), declared.toSorted());
  });
});

/** `table.column` of every scalar field, by the naming rule of the schema: snake case. */
function columnsOf(model: string): string[] {
  const fields = Object.values(
    (Prisma as unknown as Record<string, Record<string, string>>)[`${model}ScalarFieldEnum`] ?? {},
  );
  assert.ok(fields.length > 0, model);
  return fields.map((field) => `${snake(model)}.${snake(field)}`);
}

function snake(name: string): string {
  return name.replaceAll(/(?<!^)[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
}
