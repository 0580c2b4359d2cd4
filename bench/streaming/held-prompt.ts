<<<<<<< HEAD
/** A prompt that the benchmark's backend answers with one token, the rest when it is told to. */
=======
/** Answered by the backend of this benchmark with one token, and more when it is told to. */
>>>>>>> h-bench
export const HELD_PROMPT = 'hold';
