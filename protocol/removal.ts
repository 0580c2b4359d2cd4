export type RemovalCode = 'node.removed_wrong_results' | 'node.removed_bad_proofs';
export const BAD_PROOFS_MAX = 3;
export const BAD_PROOFS_DAYS = 7;
