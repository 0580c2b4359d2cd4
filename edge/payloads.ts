import type { temporal } from '@temporalio/proto';
import { Refusal } from './refusals.ts';
import { readFields, single, text } from './wire.ts';

type Payload = temporal.api.common.v1.IPayload;

/** The longest name of an encoding that is passed on. */
const ENCODING_BYTES_MAX = 64;

/** Field numbers of Payload, and of a map's entry. */
const PAYLOAD_METADATA = 1;
const PAYLOAD_DATA = 2;
const MAP_KEY = 1;
const MAP_VALUE = 2;

/** Of a payload, its encoding and its bytes. */
export function plainPayload({ metadata, data }: Payload): Payload {
  const encoding = metadata?.['encoding'];
  return { ...(encoding ? { metadata: { encoding } } : {}), data: data ?? null };
}

/**
 * The same of a payload that a node sent.
 *
 * @throws Refusal `edge.malformed`
 */
export function readPayload(bytes: Uint8Array): Payload {
  const payload = readFields(bytes, [PAYLOAD_METADATA, PAYLOAD_DATA]);
  const entries = (payload.bytes.get(PAYLOAD_METADATA) ?? []).map((entry) =>
    readFields(entry, [MAP_KEY, MAP_VALUE]),
  );
  const encoding = entries.findLast((entry) => text(entry, MAP_KEY) === 'encoding');
  const value = encoding ? single(encoding, MAP_VALUE) : undefined;
  if (value && value.length > ENCODING_BYTES_MAX)
    throw new Refusal('edge.malformed', 'a long name of an encoding');
  const metadata = value ? { encoding: value } : {};
  return plainPayload({ metadata, data: single(payload, PAYLOAD_DATA) ?? new Uint8Array() });
}
