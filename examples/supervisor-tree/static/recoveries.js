// How long it took until the tree was whole again, which the server measures, and until messages and media flowed
// again, which we measure by our own, and tell the server.

import { element, make, milliseconds, say } from "./view.js";

export class Recoveries {
  #flows;
  #tell;
  /** Shots of ours of which the server has not spoken yet. @type {{ path: string, fault: string, at: number }[]} */
  #shots = [];
  /** What we still measure, by the recovery's id. @type {Map<any, any>} */
  #measuring = new Map();
  #rows = element("recoveries");
  #own = 0;

  /**
   * @param {() => { messages: any[], media: any[] }} flows what must flow
   * @param {(id: number, measured: any) => void} tell the server
   */
  constructor(flows, tell) {
    this.#flows = flows;
    this.#tell = tell;
    setInterval(() => this.#measure(), 100);
  }

  /** We shoot, now. */
  shot(path, fault) {
    const at = performance.now();
    if (fault !== "unplug") {
      this.#shots.push({ path, fault, at });
      this.#shots.splice(0, this.#shots.length - PENDING);
      return;
    }
    // No actor dies of it, so the server has no row for it.
    const id = `own ${(this.#own += 1)}`;
    const row = { id, path, type: "WebSocket", fault, reason: { kind: "unplugged", text: "" }, at_ms: Date.now(), whole_ms: null };
    this.#show(row);
    this.#measuring.set(id, { at, row });
  }

  /** All that the server knows of. */
  reset(recoveries) {
    for (const row of recoveries) this.#show(row);
  }

  heard(row) {
    const measuring = this.#measuring.get(row.id);
    const shot = this.#shots.findIndex(({ path, fault }) => row.fault === fault && (row.path === path || fault === "fail_handshake"));
    if (!measuring && shot >= 0) {
      const [{ at }] = this.#shots.splice(shot, 1);
      this.#measuring.set(row.id, { at, row });
    } else if (measuring) {
      measuring.row = row;
    }
    this.#show(row);
  }

  #measure() {
    const now = performance.now();
    for (const [id, measuring] of this.#measuring) {
      const flows = this.#flows();
      const measured = {};
      for (const [what, member] of [["messages", "messages_ms"], ["media", "media_ms"]]) {
        if (measuring.row[member] != null || flows[what].length === 0) continue;
        const times = flows[what].map((flow) => flow.recovered(measuring.at));
        if (times.every((time) => time !== null)) measured[member] = Math.max(...times);
      }
      if (Object.keys(measured).length > 0) {
        Object.assign(measuring.row, measured);
        this.#show(measuring.row);
        if (typeof id === "number") this.#tell(id, measured);
      }
      const { messages_ms: messages, media_ms: media } = measuring.row;
      if ((messages != null && (media != null || flows.media.length === 0)) || now - measuring.at > GIVEN_UP) this.#measuring.delete(id);
    }
  }

  #show(row) {
    element("recoveries-none").hidden = true;
    const known = [...this.#rows.children].find(({ dataset }) => dataset.recovery === String(row.id));
    const line = known ?? make("tr", { dataset: { recovery: row.id } }, ...Array.from({ length: 6 }, () => make("td")));
    if (!known) this.#rows.prepend(line);
    while (this.#rows.children.length > ROWS) this.#rows.lastElementChild?.remove();
    const how = `${row.fault ?? "by itself"}${row.reason.kind === row.fault ? "" : `: ${row.reason.kind}`}`;
    const name = row.path.split("/").slice(-2).map((part) => part.replace(LONG_ID, "$1")).join("/");
    const cells = [
      new Date(row.at_ms).toLocaleTimeString(),
      row.type ? `${row.type} ${name}` : name,
      how,
      ...[row.whole_ms, row.messages_ms, row.media_ms].map((ms) => (ms == null ? "–" : milliseconds(ms))),
    ];
    cells.forEach((text, at) => say(line.children[at], text));
    line.title = `${row.path}: ${row.reason.text || row.reason.kind}`;
    line.dataset.type = row.type ?? "";
    line.dataset.fault = row.fault ?? "";
    for (const [at, member] of [[3, "whole"], [4, "messages"], [5, "media"]]) {
      line.children[at].className = "number";
      const ms = row[`${member}_ms`];
      if (ms != null) line.dataset[member] = ms;
    }
  }
}

/** The rest of an id whose beginning says enough. */
const LONG_ID = /([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f-]+/;
const PENDING = 32;
const ROWS = 100;
/** After so long, in ms, nobody waits for it any more. */
const GIVEN_UP = 30_000;
