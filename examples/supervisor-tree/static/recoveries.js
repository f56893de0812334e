// Recovery times: the server measures when the tree was whole again; the page measures when its messages and media
// flowed again, and reports that to the server.

import { shortName } from "./facts.js";
import { element, make, milliseconds, say } from "./view.js";

export class Recoveries {
  #flows;
  #report;
  /** Injected faults that the server has not reported. @type {{ path: string, fault: string, at: number, media: boolean }[]} */
  #injected = [];
  /** Rows of the table by id, with all times that are known. @type {Map<any, any>} */
  #known = new Map();
  /** Recoveries that we still measure, by id. @type {Map<any, { at: number, media: boolean }>} */
  #measuring = new Map();
  /** Times that we have measured, and that the server has not got yet, by id. @type {Map<number, any>} */
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

  /**
   * Records that we inject a fault now. Returns what to call if the server refuses it.
   *
   * @param {string} path
   * @param {string} fault
   * @returns {() => void}
   */
  injected(path, fault) {
    // Media that flows now must flow again, even if its flow is gone meanwhile.
    const injected = { path, fault, at: performance.now(), media: this.#flows().media.length > 0 };
    this.#injected.push(injected);
    this.#injected.splice(0, this.#injected.length - PENDING);
    return () => { this.#injected = this.#injected.filter((it) => it !== injected); };
  }

  /** Records that we unplug our WebSocket now. */
  unplugged() {
    const at = performance.now();
    const media = this.#flows().media.length > 0;
    // No actor ends by it, so the server has no row for it.
    const id = `own ${(this.#own += 1)}`;
    const row = { id, path: "websocket", type: "WebSocket", fault: "unplug", reason: { kind: "unplugged", text: "" }, at_ms: Date.now(), whole_ms: null };
    this.#show(row);
    this.#begin(id, { at, media });
  }

  /** Takes all recoveries of the server; some may be new to us, because the stream itself may have been hit. */
  reset(recoveries) {
    // What is too old for the table must not push newer rows out of it.
    const oldest = [...this.#known.values()].find(({ id }) => typeof id === "number")?.at_ms ?? 0;
    for (const row of recoveries.slice(-ROWS)) if (row.at_ms >= oldest) this.heard(row);
  }

  /** Takes a recovery as the server knows it, maybe later than what we know. */
  heard(row) {
    // A server that was started again counts from the beginning.
    if (this.#known.get(row.id)?.at_ms !== row.at_ms) this.#forget(row.id);
    const known = this.#known.has(row.id);
    const injected = known ? -1 : this.#injected.findIndex(({ path, fault }) => row.fault === fault && row.path === path);
    if (injected >= 0) this.#begin(row.id, this.#injected.splice(injected, 1)[0]);
    this.#show(row);
  }

  /** Begins to measure. It ends when the call flows, however late that is, and when there are too many. */
  #begin(id, { at, media }) {
    this.#measuring.set(id, { at, media });
    if (this.#measuring.size > PENDING) this.#measuring.delete(this.#measuring.keys().next().value);
  }

  #measure() {
    // Slow timers cannot measure.
    if (document.hidden) return this.#leaveOut();
    if (this.#measuring.size === 0) return;
    const flows = this.#flows();
    for (const [id, measuring] of this.#measuring) {
      const row = this.#known.get(id);
      const measured = {};
      for (const [what, member] of [["messages", "messages_ms"], ["media", "media_ms"]]) {
        if (row[member] != null || flows[what].length === 0) continue;
        const times = flows[what].map((flow) => flow.recovered(measuring.at));
        if (times.every((time) => time !== null)) measured[member] = Math.max(...times);
      }
      if (Object.keys(measured).length > 0) {
        this.#show({ ...row, ...measured });
        if (typeof id === "number") this.#unreported.set(id, { ...this.#unreported.get(id), ...measured });
      }
      const { messages_ms: messages, media_ms: media } = this.#known.get(id);
      measuring.media ||= flows.media.length > 0;
      if (messages != null && (media != null || !measuring.media)) this.#measuring.delete(id);
    }
  }

  /** Stops measuring while our tab is hidden, and marks the rows whose times are missing. */
  #leaveOut() {
    for (const id of this.#measuring.keys()) this.#show({ ...this.#known.get(id), missing: "hidden tab" });
    this.#measuring.clear();
  }

  #forget(id) {
    this.#lineOf(id)?.remove();
    for (const rows of [this.#known, this.#measuring, this.#unreported]) rows.delete(id);
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

  #lineOf(id) {
    return [...this.#rows.children].find(({ dataset }) => dataset.recovery === String(id));
  }

  /** Shows a recovery. What is known of it stays so: what we hear may be older. */
  #show(told) {
    const before = this.#known.get(told.id) ?? {};
    const row = { ...before, ...Object.fromEntries(Object.entries(told).filter(([, value]) => value != null)) };
    this.#known.set(row.id, row);
    element("recoveries-none").hidden = true;
    let line = this.#lineOf(row.id);
    if (!line) {
      line = make("tr", { role: "row", dataset: { recovery: row.id } }, ...Array.from({ length: 6 }, () => make("td", { role: "cell" })));
      this.#rows.prepend(line);
    }
    while (this.#known.size > ROWS) this.#forget(this.#known.keys().next().value);
    const name = row.path.split("/").slice(-2).map((part) => shortName(part)).join("/");
    const missing = row.missing ?? "–";
    const cells = [
      new Date(row.at_ms).toLocaleTimeString(),
      row.type ? `${row.type} ${name}` : name,
      howOf(row),
      row.whole_ms == null ? "–" : milliseconds(row.whole_ms),
      ...[row.messages_ms, row.media_ms].map((ms) => (ms == null ? missing : ms === 0 ? "not interrupted" : milliseconds(ms))),
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
