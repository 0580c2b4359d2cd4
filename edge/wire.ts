import { Refusal } from './refusals.ts';

/** Fields of a Protocol Buffers message that were asked for; those sent more than once repeat. */
export interface WireFields {
  /** Of fields with a length: bytes, texts, messages. */
  readonly bytes: ReadonlyMap<number, readonly Uint8Array[]>;
  readonly numbers: ReadonlyMap<number, number>;
}

/** Honest messages have a few dozen. */
const FIELDS_MAX = 1_024;
const REPEATED_MAX = 64;
const VARINT_BYTES_MAX = 10;

/**
 * Reads the named fields of a message that a node sent, and skips all others unread: decoding all
 * of it would make objects of hundreds of megabytes out of a message of four.
 *
 * @throws Refusal `edge.malformed` for what isn't Protocol Buffers' encoding, or has too many
 * fields.
 */
export function readFields(message: Uint8Array, wanted: readonly number[]): WireFields {
  const bytes = new Map<number, Uint8Array[]>();
  const numbers = new Map<number, number>();
  const reader = new Reader(message);
  for (let count = 0; !reader.isAtEnd(); count++) {
    if (count >= FIELDS_MAX) throw malformed('too many fields');
    const tag = reader.varint();
    const [field, type] = [Math.floor(tag / 8), tag % 8];
    if (field < 1) throw malformed('a field without a number');
    if (type === 0) {
      const value = reader.varint();
      if (wanted.includes(field)) numbers.set(field, value);
    } else if (type === 2) {
      const value = reader.take(reader.varint());
      if (wanted.includes(field)) append(bytes, field, value);
    } else if (type === 1) reader.take(8);
    else if (type === 5) reader.take(4);
    else throw malformed('a field of an unknown type');
  }
  return { bytes, numbers };
}

/** The last value of a field that is sent once, as the encoding has it; none if it is absent. */
export function single({ bytes }: WireFields, field: number): Uint8Array | undefined {
  return bytes.get(field)?.at(-1);
}

/** A field that is a text; empty if it is absent. */
export function text(fields: WireFields, field: number): string {
  const value = single(fields, field);
  return value ? Buffer.from(value.buffer, value.byteOffset, value.length).toString('utf8') : '';
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** Exact up to 2⁵³; larger numbers only have to be skipped. */
  varint(): number {
    let value = 0;
    for (let index = 0; index < VARINT_BYTES_MAX; index++) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw malformed('it ends within a number');
      value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) return value;
    }
    throw malformed('a number without end');
  }

  take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.#at) throw malformed('it ends within a field');
    const taken = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return taken;
  }
}

function append(all: Map<number, Uint8Array[]>, field: number, value: Uint8Array): void {
  const values = all.get(field);
  if (!values) all.set(field, [value]);
  else if (values.push(value) > REPEATED_MAX) throw malformed('a field is repeated too often');
}

function malformed(detail: string): Refusal {
  return new Refusal('edge.malformed', detail);
}
