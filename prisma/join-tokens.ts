import type { Database } from './client.ts';

/** A join token, without the token: of that only the hash is known. */
export interface JoinTokenRow {
  /** SHA-256 of the token, in hex. */
  readonly hash: string;
  readonly usesLeft: number;
  readonly createdAt: Date;
  readonly expiresAt: Date;
}

/** @param lifeSeconds from now on, by the database's clock. */
export async function storeJoinToken(
  database: Database,
  hash: string,
  uses: number,
  lifeSeconds: number,
): Promise<JoinTokenRow> {
  const [row] = await database.$queryRaw<JoinTokenRow[]>`
    INSERT INTO join_token (hash, uses_left, expires_at)
    VALUES (${hash}, ${uses}, now() + make_interval(secs => ${lifeSeconds}::float8))
    RETURNING hash, uses_left AS "usesLeft", created_at AS "createdAt", expires_at AS "expiresAt"`;
  if (!row) throw new Error('INSERT … RETURNING returned no row');
  return row;
}

/**
 * Tokens that still let somebody in, the latest first.
 *
 * @param after only those behind the token of this hash; null from the first on.
 */
export function listJoinTokens(
  database: Database,
  after: string | null,
  limit: number,
): Promise<JoinTokenRow[]> {
  return database.$queryRaw<JoinTokenRow[]>`
    SELECT hash, uses_left AS "usesLeft", created_at AS "createdAt", expires_at AS "expiresAt"
    FROM join_token
    WHERE uses_left > 0 AND expires_at > now()
      AND (${after}::text IS NULL OR (created_at, hash) <
           (SELECT created_at, hash FROM join_token WHERE hash = ${after}))
    ORDER BY created_at DESC, hash DESC LIMIT ${limit}`;
}

/** Whether there is such a token, used up or not. */
export async function isJoinToken(database: Database, hash: string): Promise<boolean> {
  const [row] = await database.$queryRaw<object[]>`SELECT FROM join_token WHERE hash = ${hash}`;
  return row !== undefined;
}

/** A token that is ended lets nobody in from now on. @returns false when there is no such token. */
export async function endJoinToken(database: Database, hash: string): Promise<boolean> {
  const ended = await database.$executeRaw`DELETE FROM join_token WHERE hash = ${hash}`;
  return ended > 0;
}

/**
 * Takes a use of a token, by one statement: it never has more than it was made with.
 *
 * @returns false when it is unknown, used up, or has ended.
 */
export async function takeJoinToken(database: Database, hash: string): Promise<boolean> {
  const taken = await database.$executeRaw`
    UPDATE join_token SET uses_left = uses_left - 1
    WHERE hash = ${hash} AND uses_left > 0 AND expires_at > now()`;
  return taken > 0;
}
