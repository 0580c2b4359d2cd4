import { proxyActivities } from '@temporalio/workflow';

/** What the floor's activity is given and gives back: as many bytes as a small request has. */
export interface FloorInput {
  /** A content key encrypted to the node (RSA-OAEP-256), base64. */
  readonly encryptedKey: string;
  readonly payload: string;
}

export interface FloorActivities {
  /** Does nothing. */
  plain(input: FloorInput): Promise<string>;
  /** The two RSA operations that no node can do without: it decrypts the key and signs. */
  rsa(input: FloorInput): Promise<string>;
}

export type FloorKind = keyof FloorActivities;

/** The least that a request on Temporal can cost: one activity on the node's queue. */
export async function oneActivity(
  taskQueue: string,
  kind: FloorKind,
  input: FloorInput,
): Promise<string> {
  const node = proxyActivities<FloorActivities>({
    taskQueue,
    scheduleToStartTimeout: '60s',
    startToCloseTimeout: '60s',
    retry: { maximumAttempts: 1 },
  });
  return node[kind](input);
}
