// What runs on the server: hears of it by a WebSocket, and shoots at it.

import { Recoveries } from "./recoveries.js";
import { TreeView } from "./tree_view.js";
import { element, say } from "./view.js";

/**
 * @param {{ own: () => string, flows: () => { messages: any[], media: any[] }, unplug: () => void }} page
 */
export function startTree({ own, flows, unplug }) {
  new Tree(own, flows, unplug).open();
}

class Tree {
  #delay = FIRST_DELAY;
  #unplug;
  #view;
  #recoveries;

  constructor(own, flows, unplug) {
    this.#unplug = unplug;
    this.#view = new TreeView(own, (node, fault) => this.#shoot(node, fault));
    this.#recoveries = new Recoveries(flows, (id, measured) => this.#post(`recoveries/${id}`, measured));
    element("token-form").addEventListener("submit", (event) => this.#tokenGiven(event));
  }

  async open() {
    const refusal = await this.#load();
    if (refusal !== null) return this.#refused(refusal);
    const url = new URL("/tree/stream", location.href);
    url.protocol = url.protocol.replace(/^http/, "ws");
    if (token()) url.searchParams.set("token", token());
    const stream = new WebSocket(url);
    stream.onopen = () => { this.#delay = FIRST_DELAY; };
    stream.onmessage = ({ data }) => this.#heard(JSON.parse(data));
    stream.onclose = () => this.#again("The tree cannot be seen now. Looking again…");
  }

  /** The recoveries so far; what is wrong, if they cannot be had: a status, or 0 if nobody answers. */
  async #load() {
    try {
      const response = await fetch("/tree/recoveries", { headers: headers() });
      if (!response.ok) return response.status;
      const { recoveries } = await response.json();
      this.#recoveries.reset(recoveries);
      element("token-form").hidden = true;
      return null;
    } catch {
      return 0;
    }
  }

  #refused(status) {
    if (status === 401) {
      element("token-form").hidden = false;
      return say(element("tree-note"), token() ? "That is not the token." : "");
    }
    if (status === 403) return say(element("tree-note"), "Only the machine on which the server runs may look, and shoot.");
    if (status === 404) return say(element("tree-note"), "This server does not show what runs on it.");
    this.#again("The server does not answer. Looking again…");
  }

  #again(why) {
    say(element("tree-note"), why);
    this.#view.stale();
    setTimeout(() => this.open(), this.#delay);
    this.#delay = Math.min(LONGEST_DELAY, this.#delay * 2);
  }

  #heard(message) {
    switch (message.kind) {
      case "tree":
        say(element("tree-note"), "");
        return this.#view.show(message.tree);
      case "event":
        return this.#view.happened(message);
      case "recovery":
        return this.#recoveries.heard(message.recovery);
    }
  }

  async #shoot(node, fault) {
    if (fault === "unplug") {
      this.#recoveries.shot("websocket", "unplug");
      return this.#unplug();
    }
    const order = { path: node.path, fault };
    if (fault === "lose") order.ratio = node.details.loss ? 0 : LOSS;
    else this.#recoveries.shot(node.path, fault);
    const refusal = await this.#post("fault", order);
    say(element("tree-note"), refusal === null ? "" : `${node.id}: ${refusal}`);
  }

  /** Null, or what is wrong. */
  async #post(what, body) {
    try {
      const response = await fetch(`/tree/${what}`, {
        method: "POST", headers: { ...headers(), "Content-Type": "application/json" }, body: JSON.stringify(body),
      });
      if (response.ok) return null;
      const { detail, error } = await response.json();
      return detail ?? error;
    } catch (error) {
      return error.message;
    }
  }

  #tokenGiven(event) {
    event.preventDefault();
    sessionStorage.setItem("token", element("token").value);
    element("token").value = "";
    this.open();
  }
}

const token = () => sessionStorage.getItem("token") ?? "";
const headers = () => (token() ? { Authorization: `Bearer ${token()}` } : {});
/** The part of the datagrams that a connection loses when it is told to. */
const LOSS = 0.2;
const FIRST_DELAY = 100;
const LONGEST_DELAY = 2_000;
