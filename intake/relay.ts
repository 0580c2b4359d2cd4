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
import { KeptFrames, KeptRoom } from './kept-frames.ts';

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

/** Takes a frame. @returns whether it wants another at once; if not, it says so when it does. */
export type FrameSink = (frame: RelayedFrame) => boolean;

/** One of those who get the frames of a unit. */
export interface Subscription {
  /** It takes frames again. */
  readonly resume: () => void;
  readonly end: () => void;
}

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
  readonly kept: KeptFrames<RelayedFrame & { readonly isText: boolean }>;
  /** Frames of text that somebody took: what nobody takes isn't charged. */
  deltaFrames: number;
  /** How many frames somebody took. */
  taken: number;
  /** Whether Validate has looked at it. */
  compared: boolean;
}

interface Subscriber {
  readonly sink: FrameSink;
  isReady: boolean;
  /** Whose frames it gets, and which one is next. */
  stream: Stream | null;
  next: number;
}

/** What is known of a unit for as long as somebody holds it. */
interface Unit {
  holders: number;
  stream: Stream | null;
  /** The latest attempt that was stopped. */
  stopped: number;
  readonly subscribers: Set<Subscriber>;
}

/**
 * The way of stream frames through this coordinator: node → here → the calls that follow the
 * request. Frames stay sealed for the requester; the relay opens a copy so that Validate can
 * compare what was streamed with what was committed to. Nothing of it touches workflow history or
 * the database, and what a restart loses is only the stream: the result itself is durable.
 *
 * The frames of the latest attempt are kept, within bounds, for whoever comes later, and each
 * subscriber goes through them at its own pace: a slow one costs no memory, and keeps up nobody.
 *
 * Frames that nobody is to get are taken and answered all the same, by the same rules, and
 * forgotten: those of checks, of attempts that were replaced, of requests that have ended. From the
 * answers no node can tell which of these its attempt is.
 */
export class Relay {
  readonly #channelSecret: KeyObject;
  readonly #returnRing: Ring<X25519Key>;
  readonly #room: KeptRoom;
  readonly #units = new Map<UnitId, Unit>();
  /** How many streams of a node come in. */
  readonly #incoming = new Map<NodeId, number>();
  #framesRelayed = 0;

  /** @param keptCharactersMax of the frames of all live streams together. */
  constructor(channelSecret: KeyObject, returnRing: Ring<X25519Key>, keptCharactersMax?: number) {
    this.#channelSecret = channelSecret;
    this.#returnRing = returnRing;
    this.#room = new KeptRoom(keptCharactersMax);
  }

  /** Frames that came in for units that somebody holds. */
  get framesRelayed(): number {
    return this.#framesRelayed;
  }

  /** Of frames that are kept: sealed, they are ASCII. */
  get keptBytes(): number {
    return this.#room.characters;
  }

  /**
   * From now on what is streamed of a unit is compared, and its frames are kept for subscribers.
   *
   * @returns ends it. Once nobody holds a unit its stream is forgotten: not before the request has
   *   ended, or a cancellation would find nothing to charge.
   */
  hold(unitId: UnitId): () => void {
    const unit = this.#units.get(unitId) ?? {
      holders: 0,
      stream: null,
      stopped: 0,
      subscribers: new Set(),
    };
    this.#units.set(unitId, unit);
    unit.holders += 1;
    let isHeld = true;
    return () => {
      if (isHeld) unit.holders -= 1;
      isHeld = false;
      if (unit.holders > 0 || this.#units.get(unitId) !== unit) return;
      unit.stream?.kept.clear();
      this.#units.delete(unitId);
    };
  }

  /** How many hold a unit. */
  holders(unitId: UnitId): number {
    return this.#units.get(unitId)?.holders ?? 0;
  }

  /**
   * Sends the frames of a unit that somebody holds to `sink`, each attempt's from its first one. Of
   * those that are no longer kept there is a gap, which the requester notices.
   */
  subscribe(unitId: UnitId, sink: FrameSink): Subscription {
    const unit = this.#units.get(unitId);
    const subscriber: Subscriber = { sink, isReady: true, stream: null, next: 0 };
    const pass = () => {
      if (unit?.subscribers.has(subscriber)) passOn(unit, subscriber);
    };
    unit?.subscribers.add(subscriber);
    pass();
    return {
      resume: () => {
        subscriber.isReady = true;
        pass();
      },
      end: () => void unit?.subscribers.delete(subscriber),
    };
  }

  /**
   * From now on an attempt's frames are compared, but neither passed on nor counted: its node was
   * told to stop, and can't earn more by saying more.
   */
  stop(unitId: UnitId, dispatch: number): void {
    const unit = this.#units.get(unitId);
    if (!unit) return;
    unit.stopped = Math.max(dispatch, unit.stopped);
    const { stream } = unit;
    // Those who are behind still get what others have: that is charged already.
    if (stream && stream.dispatch <= unit.stopped) stream.kept.cut(stream.taken);
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
      kept: new KeptFrames(this.#room),
      deltaFrames: 0,
      taken: 0,
      compared: false,
    };
    // Tokens don't expire, so memory is only spent on units that somebody waits for here.
    const unit = this.#units.get(unitId);
    if (unit && isWork && dispatch > (unit.stream?.dispatch ?? 0)) {
      unit.stream?.kept.clear();
      unit.stream = stream;
    }
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
    const unit = this.#units.get(stream.context.unitId);
    if (unit?.stream !== stream || stream.compared) return;
    this.#framesRelayed += 1;
    relay(unit, stream, frame, opened);
  }

  /**
   * What was relayed of an attempt; null when this coordinator saw nothing of it. Whoever asks
   * compares, so nothing more is delivered of the stream: it would not have been compared.
   */
  relayed(unitId: UnitId, dispatch: number): Relayed | null {
    const stream = this.#units.get(unitId)?.stream;
    if (!stream || stream.dispatch !== dispatch) return null;
    stream.compared = true;
    const { text, digest: streamDigest, ended, deltaFrames } = stream;
    return { text, streamDigest, ended, deltaFrames };
  }
}

function relay(unit: Unit, stream: Stream, frame: string, opened: OpenedFrame): void {
  const { dispatch, context } = stream;
  if (opened.kind === 'delta') {
    stream.text += opened.delta;
    stream.digest = extendStreamDigest(stream.digest, opened.delta);
  }
  stream.ended = opened.kind === 'end';
  if (dispatch <= unit.stopped) return;
  // An empty text is nothing that anybody got.
  const isText = opened.kind === 'delta' && opened.delta !== '';
  const { dispatch: attemptNumber, nodeId: node } = context;
  stream.kept.push({ dispatch, attemptNumber, node, frame, isText });
  for (const subscriber of unit.subscribers) passOn(unit, subscriber);
}

/** Gives a subscriber what there is for it, for as long as it takes it. */
function passOn(unit: Unit, subscriber: Subscriber): void {
  const { stream } = unit;
  if (!stream) return;
  if (subscriber.stream !== stream) Object.assign(subscriber, { stream, next: 0 });
  while (subscriber.isReady && unit.subscribers.has(subscriber)) {
    const index = Math.max(subscriber.next, stream.kept.begin);
    const kept = stream.kept.at(index);
    if (!kept) return;
    subscriber.next = index + 1;
    const { isText, ...frame } = kept;
    if (subscriber.next > stream.taken) {
      stream.taken = subscriber.next;
      if (isText) stream.deltaFrames += 1;
    }
    subscriber.isReady = subscriber.sink(frame);
  }
}
