// Bounds that several parts of the client share, and the defaults of those that the page sets.

/** Number of retries of something that fails in the same way. */
export const REPEATS = 2;
/** How long a failure is remembered, in ms. */
export const MEMORY = 600_000;
/** Time limit of an answer of the server to an offer or a request, in ms. */
export const ANSWER_TIME = 10_000;
/** Time after which a connection does not count as failed, in ms. */
export const STABLE = 5_000;
/** Bytes that may wait in the browser for one socket or channel. */
export const MAX_BUFFERED = 1 << 20;
/** Defaults of `ConnectOptions`. */
export const DEFAULTS = {
  /** @type {string[] | string} */
  protocols: [],
  firstDelay: 250,
  longestDelay: 10_000,
  attempts: Infinity,
  refusals: 20,
  queue: 256,
  joinTimeout: 10_000,
  heartbeat: 15_000,
};
