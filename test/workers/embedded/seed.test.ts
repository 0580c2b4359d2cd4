import assert from 'node:assert/strict';
import { apiKeyHash } from '../../../crypto/api-key.ts';
import { findKeyHolder } from '../../../prisma/api-keys.ts';
import { DEMO_ACCOUNT, seed, seedAdminKey } from '../../../workers/embedded/seed.ts';
import { INSTANT_MODEL } from '../../../bench/instant-backend.ts';
import { newAccount } from '../../support/sign-in.ts';
import { balances } from '../../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../../support/servers.ts';

const KEY = 'plx-demo-key-0123456789';
const ADMIN_KEY = 'plx-admin-0123456789';
const CREDIT_WEI = 100n * 10n ** 18n;

describe('workers/embedded/seed', () => {
  let db: TestDatabase;
  beforeEach(async () => {
    db = await freshDatabase();
  });
  afterEach(() => db.close());

  const holder = async (key: string) => findKeyHolder(db.database, apiKeyHash(key));

  it('gives the demo key to the address, with credit, once', async () => {
    const { id } = newAccount();
    for (let start = 0; start < 2; start++) {
      await seed(db.database, KEY, INSTANT_MODEL, id);
      await seedAdminKey(db.database, ADMIN_KEY, id);
    }
    const { accountId, scopes, isAdmin } = (await holder(KEY)) ?? {};
    assert.deepEqual([accountId, scopes, isAdmin], [id, ['inference', 'read', 'keys'], false]);
    const admin = await holder(ADMIN_KEY);
    assert.deepEqual([admin?.accountId, admin?.isAdmin], [id, true]);
    assert.equal((await balances(db.database))[`${id}:available`], CREDIT_WEI);
    assert.equal(await db.database.account.count(), 1);
  });

  it("leaves an older network's keys, credit and history where they are", async () => {
    await db.database.account.create({
      data: { id: DEMO_ACCOUNT, name: 'Demo', apiKeys: { create: { keyHash: apiKeyHash(KEY) } } },
    });
    await seed(db.database, KEY, INSTANT_MODEL);
    await seedAdminKey(db.database, ADMIN_KEY);
    const before = await holder(KEY);
    const { id } = newAccount();
    await seed(db.database, KEY, INSTANT_MODEL, id);
    await seedAdminKey(db.database, ADMIN_KEY, id);
    const after = await holder(KEY);
    assert.deepEqual(after, { ...before, scopes: ['inference', 'read', 'keys'] });
    assert.equal((await holder(ADMIN_KEY))?.accountId, DEMO_ACCOUNT);
    const wei = await balances(db.database);
    assert.deepEqual(
      [wei[`${DEMO_ACCOUNT}:available`], wei[`${id}:available`]],
      [CREDIT_WEI, CREDIT_WEI],
    );
  });
});
