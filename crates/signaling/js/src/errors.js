// Errors that the client throws, rejects with and reports.

/**
 * Error with a `code`: one of those documented below, or that of a server's error: its description as in
 * `no_such_peer`.
 */
export class CallboardError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {any} [details]
   */
  constructor(code, message, details) {
    super(message);
    this.name = new.target.name;
    this.code = code;
    this.details = details;
  }
}

/**
 * Error of a call that the other side has answered with an error, which is in `error`, such as `unknown_function`. Its
 * `code` is `hook_error`. For `invalid_args`, `details` hold the index of the `argument`, from 0, and in `detail` what
 * was expected; for the function's own errors, what it has given.
 */
export class HookError extends CallboardError {
  /**
   * @param {string} error
   * @param {{ argument?: any, detail?: any, details?: any }} [frame]
   */
  constructor(error, { argument, detail, details = { argument, detail } } = {}) {
    super("hook_error", typeof detail === "string" ? `${error}: ${detail}` : error, details);
    this.error = error;
  }
}

/**
 * @param {string} description
 * @param {any} details
 * @returns {CallboardError}
 */
export function serverError(description, details = null) {
  return new CallboardError(description.toLowerCase().replaceAll(" ", "_"), description, details);
}

export function closed() {
  return new CallboardError("closed", "the client was closed");
}

export function disconnected() {
  return new CallboardError("disconnected", "the connection was lost; the call may have run or not");
}

/** @param {number | undefined} bytes size of the largest accepted message */
export function tooLarge(bytes) {
  return new CallboardError("too_large", "the server takes no message as large as this", { max_bytes: bytes });
}

export function queueFull() {
  return new CallboardError("queue_full", "too much waits to be sent");
}

