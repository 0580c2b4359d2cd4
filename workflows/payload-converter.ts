import { defaultPayloadConverter, type Payload, type PayloadConverter } from '@temporalio/common';

/**
 * What a payload becomes that can't be decoded. It fits no schema, so Validate refuses a node's
 * return that consists of it (`poe.malformed`).
 */
const UNDECODABLE = { undecodable: true } as const;

/**
 * The SDK's own converter, but tolerant when it reads: a node chooses the encoding and the bytes of
 * its return, and an exception while the workflow takes it up would hold the workflow for ever.
 */
export const payloadConverter: PayloadConverter = {
  toPayload: (value) => defaultPayloadConverter.toPayload(value),
  // The signature is the SDK's.
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters
  fromPayload<T>(payload: Payload): T {
    try {
      return defaultPayloadConverter.fromPayload<T>(payload);
    } catch {
      return UNDECODABLE as T;
    }
  },
};
