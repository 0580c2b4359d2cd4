/** A prompt that the benchmark's backend answers with one token, the rest when it is told to. */
export const HELD_PROMPT = 'hold';
