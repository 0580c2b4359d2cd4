import { startCluster } from '/work/main/bench/cluster.ts';
import { runScenario, SCENARIOS } from '/work/main/bench/scenarios.ts';
import { cpuSeconds } from '/work/main/bench/processes.ts';
import { countStatements } from '/work/main/bench/statements.ts';
import { percentile } from '/work/main/bench/statistics.ts';
const prof = process.argv[2];
const c = await startCluster(prof);
try {
  for (const s of SCENARIOS) await runScenario(c, s, { inFlight: 8, seconds: 3 });
  const counter = await countStatements(c.databaseUrl);
  for (const inFlight of prof ? [16] : [1, 16, 64])
    for (let rep = 0; rep < 2; rep++)
      for (const s of prof ? (['full'] as const) : SCENARIOS) {
        const before: any = await cpuSeconds(c.pids);
        const cu = process.cpuUsage();
        await counter.reset();
        const r = await runScenario(c, s, { inFlight, seconds: prof ? 10 : 3 });
        const du = process.cpuUsage(cu);
        const after: any = await cpuSeconds(c.pids);
        before.client = 0;
        after.client = (du.user + du.system) / 1e6;
        const n = r.latenciesMs.length;
        const cpu = Object.fromEntries(
          Object.keys(before).map((k) => [k, +(((after[k] - before[k]) * 1000) / n).toFixed(1)]),
        );
        const st = await counter.read();
        console.log(
          inFlight,
          s,
          'rps',
          (n / r.elapsedSeconds).toFixed(1),
          'p50',
          percentile(r.latenciesMs, 50).toFixed(0),
          'p95',
          percentile(r.latenciesMs, 95).toFixed(0),
          JSON.stringify(cpu),
          'sum',
          Object.values(cpu)
            .reduce((a, b) => a + b)
            .toFixed(1),
          'sql',
          (st.reduce((a, b) => a + b.calls, 0) / n).toFixed(1),
        );
        if (s === 'full' && rep === 1 && inFlight !== 1)
          console.log(
            st
              .slice(0, 32)
              .map(
                (x) =>
                  `${(x.calls / n).toFixed(2)} ${(x.totalMs / n).toFixed(2)}ms ${x.text.slice(0, 110)}`,
              )
              .join('\n'),
          );
      }
  await counter.close();
} catch (e) {
  console.log('ERR', e);
} finally {
  await c.stop();
}
