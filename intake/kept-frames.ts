/** Of one attempt: more than the frames of the longest result take, sealed one by one. */
const STREAM_CHARACTERS_MAX = 8 * 1024 * 1024;
/** Of all live streams of a coordinator. */
const ROOM_CHARACTERS_MAX = 256 * 1024 * 1024;

/** What all live streams of a coordinator share: room for the frames that are kept. */
export class KeptRoom {
  readonly charactersMax: number;
  /** Taken of it. */
  characters = 0;

  constructor(charactersMax = ROOM_CHARACTERS_MAX) {
    this.charactersMax = charactersMax;
  }
}

/**
 * The latest frames of one stream, numbered from 0 on. When there is no more room, those that were
 * kept are forgotten, and whoever comes for them finds a gap.
 */
export class KeptFrames<Frame extends { readonly frame: string }> {
  readonly #room: KeptRoom;
  #frames: Frame[] = [];
  #characters = 0;
  #begin = 0;

  constructor(room: KeptRoom) {
    this.#room = room;
  }

  /** The number of the first one that is still there. */
  get begin(): number {
    return this.#begin;
  }

  at(number: number): Frame | undefined {
    return this.#frames[number - this.#begin];
  }

  push(frame: Frame): void {
    const { length } = frame.frame;
    if (
      this.#characters + length > STREAM_CHARACTERS_MAX ||
      this.#room.characters + length > this.#room.charactersMax
    )
      this.clear();
    this.#frames.push(frame);
    this.#add(length);
  }

  /** Forgets those from `end` on. */
  cut(end: number): void {
    const gone = this.#frames.splice(Math.max(0, end - this.#begin));
    for (const { frame } of gone) this.#add(-frame.length);
  }

  /** Forgets all that came so far. */
  clear(): void {
    this.#begin += this.#frames.length;
    this.#frames = [];
    this.#add(-this.#characters);
  }

  #add(characters: number): void {
    this.#characters += characters;
    this.#room.characters += characters;
  }
}
