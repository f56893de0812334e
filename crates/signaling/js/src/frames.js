// Frames as text, and the forms of what is in them.

/** @import { PeerMetadata } from "./types.js" */

/**
 * Parses JSON; undefined if it is not JSON.
 *
 * @param {unknown} text
 * @returns {any}
 */
export function parse(text) {
  try {
    return typeof text === "string" ? JSON.parse(text) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {unknown} value
 * @returns {string}
 * @throws {TypeError} if it is not a string
 */
export function text(value) {
  if (typeof value !== "string") throw new TypeError("no string");
  return value;
}

/**
 * @param {unknown} [value]
 * @returns {PeerMetadata} empty if it is no object
 */
export function object(value) {
  return Object.freeze(value && typeof value === "object" && !Array.isArray(value) ? value : {});
}

/**
 * @returns {never}
 * @throws {TypeError}
 */
export function misplaced() {
  throw new TypeError("not now");
}

/**
 * @param {string} text
 * @param {number} bytes
 */
export function isLarger(text, bytes) {
  // A UTF-16 code unit takes at most three bytes, and usually one.
  return text.length * 3 > bytes && new TextEncoder().encode(text).length > bytes;
}
