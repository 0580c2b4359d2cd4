import { randomBytes, randomUUID } from 'node:crypto';
import { generateWrapKey, generateX25519Key } from '../../crypto/keys.ts';
import { sealRequest } from '../../crypto/request.ts';
import type { Database } from '../../prisma/client.ts';
import type { Prisma } from '../../prisma/generated/client.ts';
import { canonicalBytes } from '../../protocol/canonical.ts';
import type { IntakeCall, RequesterKey, RequestParameters } from '../../protocol/receive.ts';
import { seed, seedOperators } from '../../workers/embedded/seed.ts';
import { INSTANT_MODEL } from '../../bench/instant-backend.ts';
import { testOperator } from '../../bench/signed-binding.ts';

export const ACCOUNT = 'acct_demo';
export const OPERATOR = 'op';
export const API_KEY = 'plx-test-key-0123456789';

const intakeKey = await generateX25519Key();
export const requester = await generateX25519Key();
const wrapKey = generateWrapKey();
export const receiveKeys = { intakeRing: [intakeKey], wrapRing: [wrapKey] } as const;

export const PARAMETERS: RequestParameters = {
  workloadClass: 'ai.inference',
  model: INSTANT_MODEL.id,
  hardwareTier: 1,
  priority: 'standard',
  deadlineSeconds: 30,
  maxTokens: 16,
  stream: false,
  seed: null,
};

/** The demo account with credit, the model of the instant backend, and one operator. */
export async function seedInstant(database: Database): Promise<void> {
  await seed(database, API_KEY, INSTANT_MODEL);
  await seedOperators(database, [testOperator(OPERATOR)]);
}

/** A key of the demo account, which nobody knows. @returns its id. */
export async function addApiKey(
  database: Database,
  limits: Partial<Prisma.ApiKeyUncheckedCreateInput> = {},
): Promise<string> {
  const data = { keyHash: randomUUID(), accountId: ACCOUNT, ...limits };
  return (await database.apiKey.create({ data })).id;
}

/** An intake call as a gateway makes it, sealed to a key of `receiveKeys` unless told another. */
export async function intakeCall(
  changed: Partial<RequestParameters> = {},
  sealedTo: RequesterKey = intakeKey.publicJwk,
): Promise<IntakeCall> {
  const parameters = { ...PARAMETERS, ...changed };
  const plaintext = canonicalBytes({
    messages: [{ role: 'user', content: 'one two three' }],
    temperature: 0,
    topP: 1,
    stop: [],
  });
  const requesterKey = requester.publicJwk;
  const envelope = await sealRequest({
    plaintext,
    parameters,
    requesterKey,
    intakeKey: sealedTo,
  });
  const key = randomBytes(24).toString('base64url');
  return { intakeKey: key, accountId: ACCOUNT, parameters, requesterKey, envelope };
}

/** Balances of all ledger accounts, and their sum, which is always zero. */
export async function balances(database: Database): Promise<Record<string, bigint>> {
  const rows = await database.$queryRaw<{ id: string; wei: string }[]>`
    SELECT id, balance_wei::text AS wei FROM ledger_account ORDER BY id`;
  return Object.fromEntries(rows.map(({ id, wei }) => [id, BigInt(wei)]));
}

/** How many rows a table has. */
export async function count(database: Database, table: 'request' | 'ledger_transfer') {
  const rows =
    table === 'request'
      ? await database.$queryRaw<{ n: number }[]>`SELECT count(*)::int AS n FROM request`
      : await database.$queryRaw<{ n: number }[]>`SELECT count(*)::int AS n FROM ledger_transfer`;
  return rows[0]?.n ?? 0;
}
