// Chat: each line goes to the server on a data channel, and comes back from there, also to the one who wrote it.

import { addLine, element, make } from "./view.js";

export class Chat {
  #send;
  #log = element("chat-log");
  #input = element("chat-input");
  #button = element("chat-form").querySelector("button");

  /** @param {(text: string) => void} send throws when it cannot be sent */
  constructor(send) {
    this.#send = send;
    element("chat-form").addEventListener("submit", (event) => this.#submit(event));
  }

  /** @param {boolean} allowed */
  allow(allowed) {
    this.#input.disabled = this.#button.disabled = !allowed;
  }

  /** Somebody has said something. */
  heard({ from, name, say }, own) {
    if (typeof say !== "string" || typeof name !== "string") return;
    addLine(this.#log, make("li", { dataset: { from } }, make("b", {}, from === own ? "You" : name), say));
  }

  /** A remark of the page's own. */
  note(text) {
    addLine(this.#log, make("li", { className: "quiet" }, text));
  }

  #submit(event) {
    event.preventDefault();
    const text = this.#input.value.trim();
    if (!text) return;
    try {
      this.#send(text);
      this.#input.value = "";
    } catch (error) {
      this.note(`Not sent: ${error.message}`);
    }
  }
}
