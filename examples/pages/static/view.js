// Helpers for the page's elements. Texts of other peers enter as text, never as markup.

/**
 * @param {string} id
 * @returns {any}
 */
export const element = (id) => document.getElementById(id);

/**
 * Creates an element with these properties and this content.
 *
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string)} content
 * @returns {any}
 */
export function make(tag, properties = {}, ...content) {
  const made = document.createElement(tag);
  const { dataset = {}, ...rest } = properties;
  Object.assign(made, rest);
  Object.assign(made.dataset, dataset);
  made.append(...content);
  return made;
}

/**
 * Changes the text only if it differs, so that screen readers do not announce it twice.
 *
 * @param {Element} where
 * @param {string} text
 */
export function say(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

/**
 * Adds a line at the end of a log, and removes the oldest.
 *
 * @param {Element} log
 * @param {Node} line
 */
export function addLine(log, line) {
  log.append(line);
  while (log.children.length > LINES) log.firstElementChild?.remove();
  log.scrollTop = log.scrollHeight;
}

/**
 * @param {number} ms
 * @returns {string}
 */
export function milliseconds(ms) {
  if (ms >= 10_000) return `${(ms / 1000).toFixed(1)} s`;
  return ms >= 10 ? `${ms.toFixed(0)} ms` : `${ms.toFixed(1)} ms`;
}

/** Most lines in a log. */
const LINES = 200;
