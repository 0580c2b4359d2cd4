import type { Attack } from './attack.ts';
import { CHANNEL_ATTACKS } from './channels.ts';
import { CLAIM_ATTACKS } from './claims.ts';
import { IDENTITY_ATTACKS } from './identities.ts';
import { METHOD_ATTACKS } from './methods.ts';
import { QUEUE_ATTACKS } from './queues.ts';
import { TOKEN_ATTACKS } from './tokens.ts';
import { TRANSPORT_ATTACKS } from './transport.ts';

/** Every attack that takes seconds; floods are in test/deep. */
export const ATTACKS: readonly Attack[] = [
  ...QUEUE_ATTACKS,
  ...METHOD_ATTACKS,
  ...TOKEN_ATTACKS,
  ...CLAIM_ATTACKS,
  ...CHANNEL_ATTACKS,
  ...IDENTITY_ATTACKS,
  ...TRANSPORT_ATTACKS,
];
