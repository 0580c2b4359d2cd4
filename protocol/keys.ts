/** What a key may be used for: requests are made, things are looked at, keys are managed. */
export const SCOPES = ['inference', 'read', 'keys'] as const;
export type Scope = (typeof SCOPES)[number];
