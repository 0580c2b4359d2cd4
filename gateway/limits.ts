import { PAYLOAD_BYTES_MAX } from '../protocol/receive.ts';

/** How much one gateway takes of its callers; docs/configuration.md says what each is for. */
export interface GatewayLimits {
  /** Open at once. More aren't taken. */
  readonly connections: number;
  /** Under way at once, streams included. More are refused with `gateway.overloaded`. */
  readonly calls: number;
  /** Of these, of one account; callers without a key share one such part. */
  readonly callsPerAccount: number;
  /** Calls of one address whose key is being looked up, or whose body is coming. */
  readonly comingPerAddress: number;
  /** Of the request line and all headers together. */
  readonly headerBytes: number;
  readonly headerCount: number;
  readonly bodyBytes: number;
  /** Of all bodies that are just coming. */
  readonly heldBytes: number;
  /** Of those from one address. */
  readonly heldBytesPerAddress: number;
  /** Arrays and objects within each other. */
  readonly bodyDepth: number;
  /** Members of all arrays and objects together. */
  readonly bodyValues: number;
  /** From the first byte of a connection or request until its headers are there. */
  readonly headersMs: number;
  /** And until its body is. */
  readonly requestMs: number;
  /** Of a connection between two requests. */
  readonly idleMs: number;
  /** Between two looks at what has become too slow. */
  readonly checkMs: number;
}

export const GATEWAY_LIMITS: GatewayLimits = {
  connections: 10_000,
  calls: 5_000,
  callsPerAccount: 1_250,
  comingPerAddress: 1_250,
  headerBytes: 16_384,
  headerCount: 100,
  // Room for JSON's escapes around the largest payload.
  bodyBytes: 2 * PAYLOAD_BYTES_MAX,
  heldBytes: 268_435_456,
  heldBytesPerAddress: 67_108_864,
  bodyDepth: 32,
  bodyValues: 20_000,
  headersMs: 10_000,
  requestMs: 30_000,
  // Longer than load balancers keep theirs, so that none sends on one that is just being closed.
  idleMs: 72_000,
  checkMs: 1_000,
};
