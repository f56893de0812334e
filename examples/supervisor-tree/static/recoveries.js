// Recovery times: the server measures when the tree was whole again; the page measures when its messages and media
// flowed again, and reports that to the server.

import { shortName } from "./facts.js";
import { element, make, milliseconds, say } from "./view.js";

export class Recoveries {
  #flows;
  #report;
  /** Injected faults that the server has not reported. @type {{ path: string, fault: string, at: number, media: boolean }[]} */
  #injected = [];
  /** Recoveries that we still measure, by id. @type {Map<any, any>} */
  #measuring = new Map();
  /** Times that we have measured, by the recovery's id; and those of them that the server has not got yet. */
  #measured = new Map();
  #unreported = new Map();
  #reporting = false;
  #rows = element("recoveries");
  #own = 0;

  /**
   * @param {() => { messages: any[], media: any[] }} flows what must flow
   * @param {(id: number, measured: any) => Promise<string | null>} report sends a measured time to the server; returns null, or what is wrong
   */
  constructor(flows, report) {
    this.#flows = flows;
    this.#report = report;
    setInterval(() => this.#measure(), 100);
    setInterval(() => this.#reportAll(), 500);
  }

  /** Records that we inject a fault now. */
  injected(path, fault) {
    const at = performance.now();
    // Media that flows now must flow again, even if its flow is gone meanwhile.
    const media = this.#flows().media.length > 0;
    if (fault !== "unplug") {
      this.#injected.push({ path, fault, at, media });
      this.#injected.splice(0, this.#injected.length - PENDING);
      return;
    }
    // No actor ends by it, so the server has no row for it.
    const id = `own ${(this.#own += 1)}`;
    const row = { id, path, type: "WebSocket", fault, reason: { kind: "unplugged", text: "" }, at_ms: Date.now(), whole_ms: null };
    this.#show(row);
    this.#measuring.set(id, { at, media, row });
  }

  /** Takes all recoveries of the server; some may be new to us, because the stream itself may have been hit. */
  reset(recoveries) {
    for (const row of recoveries) this.heard(row);
  }

  heard(row) {
    const measuring = this.#measuring.get(row.id);
    const known = this.#lineOf(row) !== undefined;
    const injected = known ? -1 : this.#injected.findIndex(({ path, fault }) => row.fault === fault && row.path === path);
    if (injected >= 0) {
      const [{ at, media }] = this.#injected.splice(injected, 1);
      this.#measuring.set(row.id, { at, media, row });
    } else if (measuring) {
      measuring.row = row;
    }
    this.#show(row);
  }

  #measure() {
    const now = performance.now();
    // Slow timers cannot measure.
    if (document.hidden) return this.#leaveOut();
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
        this.#measured.set(id, { ...this.#measured.get(id), ...measured });
        this.#show(measuring.row);
        if (typeof id === "number") this.#unreported.set(id, this.#measured.get(id));
      }
      const { messages_ms: messages, media_ms: media } = measuring.row;
      measuring.media ||= flows.media.length > 0;
      if ((messages != null && (media != null || !measuring.media)) || now - measuring.at > GIVEN_UP) this.#measuring.delete(id);
    }
  }

  /** Stops measuring while our tab is hidden, and marks the rows whose times are missing. */
  #leaveOut() {
    for (const { row } of this.#measuring.values()) {
      const line = this.#lineOf(row);
      if (line) line.dataset.missing = "hidden tab";
      this.#show(row);
    }
    this.#measuring.clear();
  }

  /** Reports our times to the server, which may itself have been hit. */
  async #reportAll() {
    if (this.#reporting) return;
    this.#reporting = true;
    for (const [id, measured] of [...this.#unreported]) {
      if ((await this.#report(id, measured)) !== null) continue;
      if (this.#unreported.get(id) === measured) this.#unreported.delete(id);
    }
    while (this.#unreported.size > PENDING) this.#unreported.delete(this.#unreported.keys().next().value);
    this.#reporting = false;
  }

  #lineOf({ id }) {
    return [...this.#rows.children].find(({ dataset }) => dataset.recovery === String(id));
  }

  #show(reported) {
    const row = { ...reported, ...this.#measured.get(reported.id) };
    element("recoveries-none").hidden = true;
    const known = this.#lineOf(row);
    const line = known ?? make("tr", { role: "row", dataset: { recovery: row.id } }, ...Array.from({ length: 6 }, () => make("td", { role: "cell" })));
    if (!known) this.#rows.prepend(line);
    while (this.#rows.children.length > ROWS) this.#rows.lastElementChild?.remove();
    const name = row.path.split("/").slice(-2).map((part) => shortName(part)).join("/");
    const missing = line.dataset.missing ?? "–";
    const cells = [
      new Date(row.at_ms).toLocaleTimeString(),
      row.type ? `${row.type} ${name}` : name,
      howOf(row),
      row.whole_ms == null ? "–" : milliseconds(row.whole_ms),
      ...[row.messages_ms, row.media_ms].map((ms) => (ms == null ? missing : milliseconds(ms))),
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

/** Says in plain words how an actor ended: by a fault, or by itself. */
function howOf({ fault, reason }) {
  return fault ? (ON_PURPOSE[fault] ?? fault) : (BY_ITSELF[reason.kind] ?? `ended: ${reason.kind}`);
}

const ON_PURPOSE = {
  panic: "made to panic",
  stop: "asked to stop",
  kill: "killed",
  fail_handshake: "handshake made to fail",
  unplug: "unplugged",
};
/** By the kind of the exit. An actor is dropped with the thread that it runs on, such as that of a WebSocket. */
const BY_ITSELF = {
  panic: "panicked by itself",
  error: "failed by itself",
  killed: "fell with its thread",
};
const PENDING = 32;
const ROWS = 100;
/** Time in ms after which measuring ends. */
const GIVEN_UP = 30_000;
