/** How long bootstrap waits for others, and how often it asks again. */
export const LIMITS = {
  /** From a request until its answer begins, redirects included: a firewall may drop packets. */
  answerSeconds: 12,
  /** Without a single byte, while a file arrives. */
  stallSeconds: 20,
  /** Failures in a row, without a megabyte gained in between, before a source is given up. */
  attempts: 5,
  /** Before the second attempt; doubled before each further one. */
  backoffSeconds: 1,
  /** From pip's first word to the index until it begins to download. */
  indexSeconds: 15,
};
