import { Client } from 'pg';

/** One kind of statement, as pg_stat_statements keeps it: parameters are cut out. */
export interface StatementCount {
  readonly text: string;
  readonly calls: number;
  readonly totalMs: number;
}

/** Counts the SQL statements that the server has executed. */
export interface StatementCounter {
  /** Starts from zero. */
  reset(): Promise<void>;
  /** What was executed since, most calls first; the counter's own statements left out. */
  read(): Promise<StatementCount[]>;
  close(): Promise<void>;
}

/** @param databaseUrl of a server with the extension pg_stat_statements loaded. */
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
                sum(total_exec_time) AS "totalMs"
         FROM pg_stat_statements WHERE query !~ 'pg_stat_statements' AND toplevel
         GROUP BY 1 ORDER BY 2 DESC, 1`,
      );
      return rows;
    },
    close: () => client.end(),
  };
}
