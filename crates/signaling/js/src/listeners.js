// Listeners to a client's events.

import { harmless } from "./page.js";

/** Listeners by the event that they listen to. */
export class Listeners {
  /** @type {Map<string, Set<(...told: any[]) => void>>} */
  #all = new Map();

  /**
   * @param {string} event
   * @param {(...told: any[]) => void} listener
   * @returns {() => void} stops listening
   */
  add(event, listener) {
    const listeners = this.#all.get(event) ?? new Set();
    this.#all.set(event, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * Calls the listeners of an event. If one throws, the others are still called. May be passed on as a function.
   *
   * @param {string} event
   * @param {...any} told
   */
  emit = (event, ...told) => {
    for (const listener of [...(this.#all.get(event) ?? [])]) {
      harmless(() => listener(...told));
    }
  };

  clear() {
    this.#all.clear();
  }
}
