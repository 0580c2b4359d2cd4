export interface SprtPlan {
  readonly e0: number;
  readonly e1: number;
  readonly alpha: number;
  readonly beta: number;
}
export type SprtVerdict = 'continue' | 'clear' | 'remove';
export function sprtPlan(honestErrorRate: number): SprtPlan {
  return { e0: Math.max(honestErrorRate, 0.001), e1: 0.1, alpha: 4e-6, beta: 0.05 };
}
export function observe(
  logRatio: number,
  agrees: boolean,
  { e0, e1, alpha, beta }: SprtPlan,
): { readonly logRatio: number; readonly verdict: SprtVerdict } {
  const next = logRatio + (agrees ? Math.log((1 - e1) / (1 - e0)) : Math.log(e1 / e0));
  if (next >= Math.log((1 - beta) / alpha)) return { logRatio: next, verdict: 'remove' };
  if (next <= Math.log(beta / (1 - alpha))) return { logRatio: 0, verdict: 'clear' };
  return { logRatio: next, verdict: 'continue' };
}
