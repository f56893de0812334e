// Chat: each line goes to the server on a data channel, and comes back from there, also to its author.

import { addLine, element, make } from "./view.js";

/** A line that was sent, and has not come back. @typedef {{ text: string, timer: number, remark: any }} Sent */

export class Chat {
  #send;
  #log = element("chat-log");
  #input = element("chat-input");
  #button = element("chat-form").querySelector("button");
  /** Oldest first. @type {Sent[]} */
  #sent = [];

  /** @param {(text: string) => void} send throws when it cannot be sent */
  constructor(send) {
    this.#send = send;
    element("chat-form").addEventListener("submit", (event) => this.#submit(event));
  }

  /** @param {boolean} allowed */
  allow(allowed) {
    this.#input.disabled = this.#button.disabled = !allowed;
  }

  /** Shows a line that a member has sent. */
  heard({ from, name, say }, own) {
    if (typeof say !== "string" || typeof name !== "string") return;
    if (from === own) this.#arrived(say);
    addLine(this.#log, make("li", { dataset: { from } }, make("b", {}, from === own ? "You" : name), say));
  }

  /** Handles the loss of the data channel: lines that have not come back by it are lost. */
  lost() {
    for (const sent of this.#sent) this.#missing(sent);
    this.#sent = [];
  }

  /** Adds a remark of the page itself. */
  note(text) {
    const line = make("li", { className: "quiet" }, text);
    addLine(this.#log, line);
    return line;
  }

  /** @param {string} text */
  #arrived(text) {
    const at = this.#sent.findIndex((sent) => sent.text === text);
    if (at < 0) return;
    const [sent] = this.#sent.splice(at, 1);
    clearTimeout(sent.timer);
    sent.remark?.remove();
  }

  /** @param {Sent} sent */
  #missing(sent) {
    clearTimeout(sent.timer);
    // The server may have the line nevertheless: sending it again could show it twice.
    sent.remark ??= this.note(`No answer from the server: “${sent.text}” may not have arrived.`);
  }

  #submit(event) {
    event.preventDefault();
    const text = this.#input.value.trim();
    if (!text) return;
    try {
      this.#send(text);
      this.#input.value = "";
      /** @type {Sent} */
      const sent = { text: [...text].slice(0, LONGEST_LINE).join(""), timer: 0, remark: null };
      sent.timer = setTimeout(() => this.#missing(sent), ANSWERED_WITHIN);
      this.#sent.push(sent);
      this.#sent.splice(0, this.#sent.length - PENDING);
    } catch (error) {
      this.note(`Not sent: ${error.message}`);
    }
  }
}

/** Longest line in characters; the server cuts off the rest. */
const LONGEST_LINE = 2_000;
/** Time in ms after which a line counts as missing. */
const ANSWERED_WITHIN = 2_000;
/** Most lines that are waited for. */
const PENDING = 100;
