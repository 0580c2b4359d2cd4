import type { KeyObject } from 'node:crypto';
import { checkChannelToken, type DispatchContext } from '../crypto/channel.ts';
import type { Ring, X25519Key } from '../crypto/keys.ts';
import { createStreamOpener, type StreamOpener } from '../crypto/stream.ts';
import { CodedError } from '../protocol/errors.ts';
import type { UnitId } from '../protocol/ids.ts';
import { MAX_TOKENS_MAX } from '../protocol/receive.ts';
import { emptyStreamDigest, extendStreamDigest, RESULT_BYTES_MAX } from '../protocol/result.ts';
import type { Relayed } from '../protocol/validate.ts';

/** A node sends at most a frame a token, the key, and the end; twice that is a flood. */
const FRAMES_MAX = 2 * MAX_TOKENS_MAX;

/** A sealed frame on its way to whoever asked for the stream. */
export interface RelayedFrame {
  readonly dispatch: number;
  readonly node: string;
  readonly frame: string;
}

/** @returns whether somebody still takes it: what nobody takes isn't charged. */
export type FrameSink = (frame: RelayedFrame) => boolean;

interface Stream {
  readonly context: DispatchContext;
  readonly opener: StreamOpener;
  frames: number;
  text: string;
  digest: string;
  ended: boolean;
  deltaFrames: number;
  /** Whether Validate has looked at it. */
  compared: boolean;
}

/**
 * The way of stream frames through this coordinator: node → here → the intake call. Frames stay
 * sealed for the requester; the relay opens a copy so that Validate can compare what was streamed
 * with what was committed to. Nothing of it touches workflow history or the database, and what a
 * restart loses is only the stream: the result itself is durable.
 */
export class Relay {
  readonly #channelSecret: KeyObject;
  readonly #returnRing: Ring<X25519Key>;
  readonly #streams = new Map<UnitId, Stream>();
  readonly #sinks = new Map<string, FrameSink>();
  /** The latest attempt at a unit that was stopped. */
  readonly #stopped = new Map<UnitId, number>();

  constructor(channelSecret: KeyObject, returnRing: Ring<X25519Key>) {
    this.#channelSecret = channelSecret;
    this.#returnRing = returnRing;
  }

  /**
   * Sends the frames of a unit to `sink` from now on.
   *
   * @returns ends it, and forgets what was relayed: not before the request has ended, or a
   * cancellation would find nothing to charge.
   */
  subscribe(unitId: UnitId, sink: FrameSink): () => void {
    this.#sinks.set(unitId, sink);
    return () => {
      if (this.#sinks.get(unitId) !== sink) return;
      this.#sinks.delete(unitId);
      this.#streams.delete(unitId);
      this.#stopped.delete(unitId);
    };
  }

  /**
   * From now on an attempt's frames are compared, but neither passed on nor counted: its node was
   * told to stop, and can't earn more by saying more.
   */
  stop(unitId: UnitId, dispatch: number): void {
    if (!this.#sinks.has(unitId)) return;
    this.#stopped.set(unitId, Math.max(dispatch, this.#stopped.get(unitId) ?? 0));
  }

  /**
   * Opens the way for one attempt's frames.
   *
   * @param token the channel token of the node's ticket.
   * @throws CodedError `relay.forbidden` for another's token, `relay.superseded` when a later
   * attempt has begun to stream, or this one was streamed before.
   */
  open(context: DispatchContext, token: unknown): (frame: string) => void {
    if (!checkChannelToken(this.#channelSecret, context, token))
      throw new CodedError('relay.forbidden');
    // Tokens don't expire, so memory is only spent on units that somebody waits for here.
    if (!this.#sinks.has(context.unitId)) throw new CodedError('relay.superseded');
    const current = this.#streams.get(context.unitId);
    if (current && current.context.dispatch >= context.dispatch)
      throw new CodedError('relay.superseded');
    const stream: Stream = {
      context,
      opener: createStreamOpener(this.#returnRing, context),
      frames: 0,
      text: '',
      digest: emptyStreamDigest,
      ended: false,
      deltaFrames: 0,
      compared: false,
    };
    this.#streams.set(context.unitId, stream);
    return (frame) => this.#accept(stream, frame);
  }

  #accept(stream: Stream, frame: string): void {
    const { unitId, dispatch, nodeId } = stream.context;
    if (this.#streams.get(unitId) !== stream || stream.compared)
      throw new CodedError('relay.superseded');
    if (++stream.frames > FRAMES_MAX || stream.text.length > RESULT_BYTES_MAX)
      throw new CodedError('relay.bad_frame', 'The stream is longer than any result may be.');
    const opened = stream.opener.open(frame);
    if (opened.kind === 'delta') {
      stream.text += opened.delta;
      stream.digest = extendStreamDigest(stream.digest, opened.delta);
    }
    stream.ended = opened.kind === 'end';
    if (dispatch <= (this.#stopped.get(unitId) ?? 0)) return;
    const isTaken = this.#sinks.get(unitId)?.({ dispatch, node: nodeId, frame }) ?? false;
    // An empty text is nothing that anybody got.
    if (isTaken && opened.kind === 'delta' && opened.delta !== '') stream.deltaFrames += 1;
  }

  /**
   * What was relayed of an attempt; null when this coordinator saw nothing of it. Whoever asks
   * compares, so the stream takes nothing more: what isn't compared must not be delivered.
   */
  relayed(unitId: UnitId, dispatch: number): Relayed | null {
    const stream = this.#streams.get(unitId);
    if (!stream || stream.context.dispatch !== dispatch) return null;
    stream.compared = true;
    const { text, digest: streamDigest, ended, deltaFrames } = stream;
    return { text, streamDigest, ended, deltaFrames };
  }
}
