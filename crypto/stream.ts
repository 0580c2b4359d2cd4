import { randomBytes } from 'node:crypto';
import {
  returnEnvelopeSchema,
  streamBodySchema,
  streamFrameHeaderSchema,
  streamKeyHeaderSchema,
} from '../protocol/envelope-schema.ts';
import type { DispatchContext } from './channel.ts';
import { agreeForRing } from './content-key.ts';
import { openDir, sealDir } from './dir.ts';
import { openGcm } from './gcm.ts';
import { EnvelopeError } from './errors.ts';
import type { Ring, X25519Key } from './keys.ts';
import { parseEnvelope, parseHeader, parseJsonBytes, undecryptable } from './parse.ts';
import { recipientFor, sealToBoth, type ReturnKeys } from './return.ts';

/** Of one sealed frame; a longer text has to be sent as several. */
export const STREAM_FRAME_CHARACTERS_MAX = 64 * 1024;

/** Seals the frames of one attempt, in the order of the calls. */
export interface StreamSealer {
  /** The first frame: JWE General JSON that seals the stream's own key to both recipients. */
  readonly keyFrame: string;
  /** A text frame: compact JWE with a protected sequence number. Throws `EnvelopeError`. */
  delta(text: string): string;
  /** The last frame; it fixes the number of text frames, so that a cut stream is noticed. */
  end(): string;
}

/** What a frame turned out to be. */
export type OpenedFrame =
  | { readonly kind: 'key' }
  | { readonly kind: 'delta'; readonly delta: string }
  | { readonly kind: 'end' };

/** Opens the frames of one attempt. */
export interface StreamOpener {
  /**
   * Synchronous, so that frames can't overtake each other. Throws `EnvelopeError`, and then
   * expects the same frame as before: nothing a forger sends moves it on.
   */
  open(frameText: string): OpenedFrame;
}

/** Starts the stream of one attempt, on the node. */
export async function createStreamSealer(
  context: DispatchContext & ReturnKeys,
): Promise<StreamSealer> {
  const { unitId, dispatch, nodeId } = context;
  const key = randomBytes(32);
  const header = { enc: 'A256GCM', unit: unitId, dispatch, node: nodeId, seq: 0 };
  const keyFrame = JSON.stringify(await sealToBoth(key, header, context));
  let seq = 0;
  let ended = false;
  const seal = (body: unknown): string => {
    if (ended) throw outOfOrder('The stream was ended; nothing can follow.');
    const plaintext = Buffer.from(JSON.stringify(parseEnvelope(streamBodySchema, body, 'frame')));
    const frame = sealDir(key, { alg: 'dir', enc: 'A256GCM', seq: seq + 1 }, plaintext);
    assertFrameSize(frame);
    seq += 1;
    return frame;
  };
  return {
    keyFrame,
    delta: (text) => seal({ delta: text }),
    end: () => {
      const frame = seal({ end: true, frames: seq });
      ended = true;
      return frame;
    },
  };
}

/**
 * Reads the stream of one attempt, as the requester or the coordinator. Refuses gaps, repeats,
 * other orders, and frames of another unit, attempt or node.
 */
export function createStreamOpener(
  privateKeyRing: Ring<X25519Key>,
  expected: DispatchContext,
): StreamOpener {
  let key: Buffer | undefined;
  let seq = 0;
  let ended = false;
  return {
    open(frameText) {
      assertFrameSize(frameText);
      if (ended) throw outOfOrder('A frame follows the end of the stream.');
      if (!key) {
        key = openKeyFrame(frameText, privateKeyRing, expected);
        return { kind: 'key' };
      }
      const opened = openFrame(frameText, key, seq + 1);
      seq += 1;
      ended = opened.kind === 'end';
      return opened;
    },
  };
}

function openKeyFrame(frameText: string, ring: Ring<X25519Key>, expected: DispatchContext): Buffer {
  const jwe = parseJsonBytes(returnEnvelopeSchema, Buffer.from(frameText), 'key frame');
  const header = parseHeader(streamKeyHeaderSchema, jwe.protected, 'key frame');
  const contentKey = agreeForRing(recipientFor(jwe, ring), ring);
  const key = openGcm(contentKey, jwe.protected, jwe, 'key frame');
  const { unit, dispatch, node } = header;
  if (unit !== expected.unitId || dispatch !== expected.dispatch || node !== expected.nodeId)
    throw new EnvelopeError(
      'envelope.wrong_context',
      `The stream is of ${unit}, dispatch ${dispatch}, by ${node}; expected ` +
        `${expected.unitId}, dispatch ${expected.dispatch}, by ${expected.nodeId}.`,
    );
  if (key.length !== 32) throw undecryptable('key frame', new Error('not a 32-byte key'));
  return key;
}

function openFrame(frameText: string, key: Buffer, seq: number): OpenedFrame {
  const [header = ''] = frameText.split('.', 1);
  const claimed = parseHeader(streamFrameHeaderSchema, header, 'frame');
  if (claimed.seq !== seq)
    throw outOfOrder(`Frame ${claimed.seq} came where frame ${seq} was expected.`);
  const body = parseJsonBytes(streamBodySchema, openDir(key, frameText), 'frame');
  if ('delta' in body) return { kind: 'delta', delta: body.delta };
  if (body.frames !== seq - 1)
    throw outOfOrder(`The end claims ${body.frames} text frames, but ${seq - 1} came.`);
  return { kind: 'end' };
}

function assertFrameSize(frame: string): void {
  if (frame.length <= STREAM_FRAME_CHARACTERS_MAX) return;
  throw new EnvelopeError(
    'envelope.oversize',
    `A sealed frame of ${frame.length} characters; at most ${STREAM_FRAME_CHARACTERS_MAX}. ` +
      'Send the text as several frames.',
  );
}

function outOfOrder(message: string): EnvelopeError {
  return new EnvelopeError('stream.out_of_order', message);
}
