import type { KeyObject } from 'node:crypto';
import { checkChannelToken, dispatchOf, type DispatchContext } from '../crypto/channel.ts';
import type { Ring, X25519Key } from '../crypto/keys.ts';
import { createStreamOpener, type OpenedFrame, type StreamOpener } from '../crypto/stream.ts';
import { CodedError } from '../protocol/errors.ts';
import { DISPATCH_NUMBER_MAX } from '../protocol/dispatch.ts';
import type { NodeId, UnitId } from '../protocol/ids.ts';
import { RUNNING_MAX } from '../protocol/presence.ts';
import { MAX_TOKENS_MAX } from '../protocol/receive.ts';
import { emptyStreamDigest, extendStreamDigest, RESULT_BYTES_MAX } from '../protocol/result.ts';
import type { Relayed } from '../protocol/validate.ts';

/** A node sends at most a frame a token, the key, and the end; twice that is a flood. */
const FRAMES_MAX = 2 * MAX_TOKENS_MAX;

/** A sealed frame on its way to whoever asked for the stream. */
export interface RelayedFrame {
  readonly dispatch: number;
  /** What the node was told instead: the frame is bound to it. */
  readonly attemptNumber: number;
  readonly node: string;
  readonly frame: string;
}

/** @returns whether somebody still takes it: what nobody takes isn't charged. */
export type FrameSink = (frame: RelayedFrame) => boolean;

/** The stream of one attempt, while it comes in. */
export interface IncomingStream {
  /** @throws CodedError `relay.bad_frame`, or an `EnvelopeError`, and keeps the frame to itself. */
  readonly accept: (frame: string) => void;
  /** Has to be called once no more frames come. */
  readonly close: () => void;
}

interface Stream {
  readonly context: DispatchContext;
  readonly dispatch: number;
  readonly opener: StreamOpener;
  frames: number;
  /** Of text that came, whether anybody got it or not. */
  characters: number;
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
 *
 * Frames that nobody is to get are taken and answered all the same, by the same rules, and
 * forgotten: those of checks, of attempts that were replaced, of requests that have ended. From the
 * answers no node can tell which of these its attempt is.
 */
export class Relay {
  readonly #channelSecret: KeyObject;
  readonly #returnRing: Ring<X25519Key>;
  readonly #streams = new Map<UnitId, Stream>();
  readonly #sinks = new Map<string, FrameSink>();
  /** The latest attempt at a unit that was stopped. */
  readonly #stopped = new Map<UnitId, number>();
  /** How many streams of a node come in. */
  readonly #incoming = new Map<NodeId, number>();

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
   * @param context with the number that the node was told.
   * @param token the channel token of the node's ticket.
   * @throws CodedError `relay.forbidden` for another's token, `relay.too_many` when more streams of
   *   the node come in than it can have attempts.
   */
  open(context: DispatchContext, token: unknown): IncomingStream {
    const { unitId, nodeId } = context;
    // Both each time, so that the time tells nothing either.
    const [isWork, isCheck] = [false, true].map((kind) =>
      checkChannelToken(this.#channelSecret, context, token, kind),
    );
    const dispatch = this.#dispatchOf(context);
    if ((!isWork && !isCheck) || dispatch === null) throw new CodedError('relay.forbidden');
    const incoming = this.#incoming.get(nodeId) ?? 0;
    if (incoming >= RUNNING_MAX) throw new CodedError('relay.too_many');
    this.#incoming.set(nodeId, incoming + 1);
    const stream: Stream = {
      context,
      dispatch,
      opener: createStreamOpener(this.#returnRing, context),
      frames: 0,
      characters: 0,
      text: '',
      digest: emptyStreamDigest,
      ended: false,
      deltaFrames: 0,
      compared: false,
    };
    // Tokens don't expire, so memory is only spent on units that somebody waits for here.
    const isNewest = dispatch > (this.#streams.get(unitId)?.dispatch ?? 0);
    if (isWork && isNewest && this.#sinks.has(unitId)) this.#streams.set(unitId, stream);
    return { accept: (frame) => this.#accept(stream, frame), close: () => this.#close(nodeId) };
  }

  /** A node that an earlier version has told the dispatch number itself has a token for it. */
  #dispatchOf({ unitId, dispatch }: DispatchContext): number | null {
    if (dispatch <= DISPATCH_NUMBER_MAX) return dispatch;
    return dispatchOf(this.#channelSecret, unitId, dispatch);
  }

  #close(nodeId: NodeId): void {
    const left = (this.#incoming.get(nodeId) ?? 0) - 1;
    if (left > 0) this.#incoming.set(nodeId, left);
    else this.#incoming.delete(nodeId);
  }

  #accept(stream: Stream, frame: string): void {
    if (++stream.frames > FRAMES_MAX || stream.characters > RESULT_BYTES_MAX)
      throw new CodedError('relay.bad_frame', 'The stream is longer than any result may be.');
    const opened = stream.opener.open(frame);
    if (opened.kind === 'delta') stream.characters += opened.delta.length;
    const { unitId } = stream.context;
    if (this.#streams.get(unitId) === stream && !stream.compared)
      this.#relay(stream, frame, opened);
  }

  #relay(stream: Stream, frame: string, opened: OpenedFrame): void {
    const { dispatch, context } = stream;
    const { unitId, nodeId, dispatch: attemptNumber } = context;
    if (opened.kind === 'delta') {
      stream.text += opened.delta;
      stream.digest = extendStreamDigest(stream.digest, opened.delta);
    }
    stream.ended = opened.kind === 'end';
    if (dispatch <= (this.#stopped.get(unitId) ?? 0)) return;
    const sink = this.#sinks.get(unitId);
    const isTaken = sink?.({ dispatch, attemptNumber, node: nodeId, frame }) ?? false;
    // An empty text is nothing that anybody got.
    if (isTaken && opened.kind === 'delta' && opened.delta !== '') stream.deltaFrames += 1;
  }

  /**
   * What was relayed of an attempt; null when this coordinator saw nothing of it. Whoever asks
   * compares, so nothing more is delivered of the stream: it would not have been compared.
   */
  relayed(unitId: UnitId, dispatch: number): Relayed | null {
    const stream = this.#streams.get(unitId);
    if (!stream || stream.dispatch !== dispatch) return null;
    stream.compared = true;
    const { text, digest: streamDigest, ended, deltaFrames } = stream;
    return { text, streamDigest, ended, deltaFrames };
  }
}
