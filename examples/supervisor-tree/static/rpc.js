// Buttons that call functions on the server.

import { addLine, element, make, milliseconds } from "./view.js";

export class Rpc {
  #client;
  #log = element("rpc-log");
  #buttons = [...element("rpc").querySelectorAll("button")];

  /** @param {() => import("/callboard.js").Client | null} client */
  constructor(client) {
    this.#client = client;
    for (const button of this.#buttons) button.addEventListener("click", () => this.#call(button.dataset.hook));
  }

  /** @param {boolean} allowed */
  allow(allowed) {
    for (const button of this.#buttons) button.disabled = !allowed;
  }

  /** @param {string} hook */
  async #call(hook) {
    const client = this.#client();
    if (!client) return;
    const args = ARGUMENTS[hook] ?? [];
    const began = performance.now();
    let outcome = "ok";
    let words;
    try {
      words = JSON.stringify(await client.call("demo", hook, args));
    } catch (error) {
      [outcome, words] = ["error", error.message];
    }
    const took = make("span", { className: "quiet" }, milliseconds(performance.now() - began));
    const asked = `${hook}(${args.map((arg) => JSON.stringify(arg)).join(", ")})`;
    addLine(this.#log, make("li", { dataset: { hook, outcome } }, make("code", {}, asked), ` → ${words} `, took));
  }
}

/** @type {Record<string, any[]>} */
const ARGUMENTS = { echo: ["hello", 42], add: [2, 3], slow: [1_000] };
