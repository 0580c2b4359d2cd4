/** Answered by the backend of this benchmark with one token, and more when it is told to. */
export const HELD_PROMPT = 'hold';
