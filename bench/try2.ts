import { readdirSync, readFileSync } from 'node:fs';
import { startCluster } from '/work/main/bench/cluster.ts';
import { runScenario } from '/work/main/bench/scenarios.ts';
function threads(pid: number) {
  const m: Record<string, number> = {};
  for (const t of readdirSync(`/proc/${pid}/task`)) {
    try {
      const s = readFileSync(`/proc/${pid}/task/${t}/stat`, 'utf8');
      const f = s.slice(s.lastIndexOf(')') + 2).split(' ');
      const name =
        s.slice(s.indexOf('(') + 1, s.lastIndexOf(')')) + (t === String(pid) ? '*main' : '');
      const k = name + (name === 'node' ? ':' + t : '');
      m[k] = (m[k] ?? 0) + Number(f[11]) + Number(f[12]);
    } catch {}
  }
  return m;
}
function proc(pid: number) {
  const s = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const f = s.slice(s.lastIndexOf(')') + 2).split(' ');
  return Number(f[11]) + Number(f[12]);
}
const c = await startCluster();
try {
  for (const s of ['rsa', 'full'] as const) await runScenario(c, s, { inFlight: 16, seconds: 6 });
  for (let i = 0; i < 2; i++)
    for (const s of ['rsa', 'full'] as const) {
      const names =
        s === 'rsa' ? ['floor client and worker', 'node'] : ['coordinator', 'gateway', 'node'];
      const b = names.map((n) => threads(c.pids[n]!));
      const pb = names.map((n) => proc(c.pids[n]!));
      const r = await runScenario(c, s, { inFlight: 16, seconds: 8 });
      const a = names.map((n) => threads(c.pids[n]!));
      const pa = names.map((n) => proc(c.pids[n]!));
      const n = r.latenciesMs.length;
      names.forEach((nm, i) =>
        console.log(
          s,
          n,
          nm,
          (((pa[i]! - pb[i]!) * 10) / n).toFixed(1),
          Object.entries(a[i]!)
            .map(([k, v]) => [k, ((v - (b[i]![k] ?? 0)) * 10) / n] as const)
            .filter((x) => x[1] > 0.15)
            .map(([k, v]) => `${k}=${v.toFixed(1)}`)
            .join(' '),
        ),
      );
    }
} finally {
  await c.stop();
}
