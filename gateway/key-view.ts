import type { KeyRow } from '../prisma/api-keys.ts';

/** A key as the API shows it: never its secret, of which nobody knows more than the hash. */
export function describeKey(row: KeyRow) {
  const { limits, used, revokedAt, expiresAt } = row;
  return {
    id: row.id,
    object: 'api_key' as const,
    name: row.name,
    hint: row.hint,
    status: statusOf(row),
    scopes: row.scopes,
    is_admin: row.isAdmin,
    created_at: row.createdAt.toISOString(),
    expires_at: expiresAt?.toISOString() ?? null,
    revoked_at: revokedAt?.toISOString() ?? null,
    limits: {
      budget_wei: limits.budgetWei?.toString() ?? null,
      budget_period: limits.budgetPeriod,
      requests_per_minute: limits.requestsPerMinute,
      tokens_per_minute: limits.tokensPerMinute,
      concurrency: limits.concurrency,
    },
    used: {
      spent_wei: used.spentWei,
      reserved_wei: used.reservedWei,
      in_flight: used.inFlight,
    },
  };
}

function statusOf({ isActive, revokedAt }: KeyRow): 'active' | 'revoked' | 'expired' {
  if (isActive) return 'active';
  return revokedAt ? 'revoked' : 'expired';
}
