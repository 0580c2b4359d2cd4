import { Client } from 'pg';

/** One kind of statement, as pg_stat_statements keeps it: parameters are cut out. */
export interface StatementCount {
  readonly text: string;
  readonly calls: number;
  readonly totalMs: number;
  /** Whether a client sent it: a round trip. Otherwise a function or a trigger ran it. */
  readonly isRoundTrip: boolean;
}

/** Counts the SQL statements that the server has executed. */
export interface StatementCounter {
  /** Starts from zero. */
  reset(): Promise<void>;
  /** What was executed since, most calls first; the counter's own statements left out. */
  read(): Promise<StatementCount[]>;
  close(): Promise<void>;
}

/** @param databaseUrl of a server with pg_stat_statements, tracking all statements. */
export async function countStatements(databaseUrl: string): Promise<StatementCounter> {
  const client = new Client({ connectionString: databaseUrl });
  // The server may be stopped first; whoever reads then gets the error.
  client.on('error', () => undefined);
  await client.connect();
  return {
    reset: async () => void (await client.query('SELECT pg_stat_statements_reset()')),
    async read() {
      const { rows } = await client.query<StatementCount>(
        `SELECT regexp_replace(query, '\\s+', ' ', 'g') AS text, sum(calls)::int AS calls,
                sum(total_exec_time) AS "totalMs", toplevel AS "isRoundTrip"
         FROM pg_stat_statements WHERE query !~ 'pg_stat_statements'
         GROUP BY text, toplevel ORDER BY toplevel DESC, calls DESC, text`,
      );
      return rows;
    },
    close: () => client.end(),
  };
}
