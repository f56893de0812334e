// Bookkeeping of whether messages or media flow, and since when without a break.

/** Arrivals of one kind, such as the answers to our messages. */
export class Flow {
  /** @type {{ sent: number, arrived: number }[]} */
  #arrivals = [];
  #pause;

  /**
   * @param {number} pause time between two arrivals, in ms, that is noticed, if it is twice the usual one as well; the
   *   longest one after a fault counts
   */
  constructor(pause) {
    this.#pause = pause;
  }

  /**
   * Records an arrival.
   *
   * @param {number} [sent] when it was sent, by `performance.now()`; now, if that cannot be known
   */
  mark(sent = performance.now()) {
    this.#arrivals.push({ sent, arrived: performance.now() });
    if (this.#arrivals.length > KEPT) this.#arrivals.splice(0, KEPT / 2);
  }

  /** Whether anything has arrived lately. */
  get alive() {
    return performance.now() - (this.#arrivals.at(-1)?.arrived ?? -Infinity) < GAP;
  }

  /**
   * Returns how long after `fault` it flowed again, in ms; 0 if it was not interrupted, and null while that is not
   * known. It flows again from the first arrival of something sent after the fault that was followed by no gap; where it
   * paused after that, from the end of the longest pause. Without a pause it went on: when something came next says
   * nothing of the fault.
   *
   * @param {number} fault
   * @returns {number | null}
   */
  recovered(fault) {
    if (!this.alive) return null;
    const now = performance.now();
    const after = this.#arrivals.filter(({ sent }) => sent >= fault);
    let since = after.at(-1)?.arrived;
    if (since === undefined || now - since > GAP) return null;
    for (const { arrived } of after.reverse()) {
      if (since - arrived > GAP) break;
      since = arrived;
    }
    if (now - since < SETTLED) return null;
    const resumed = this.#resumed(fault, since);
    return resumed === null ? 0 : Math.max(resumed, since) - fault;
  }

  /**
   * Returns when the longest pause ended that is noticed, that ended after the fault, and that began before it had
   * settled; null without one. What began after the fault has paused until then.
   */
  #resumed(fault, since) {
    if (!this.#arrivals.some(({ arrived }) => arrived <= fault)) return since;
    let [longest, end] = [Math.max(this.#pause, 2 * this.#usual(fault)), null];
    this.#arrivals.forEach(({ arrived }, at) => {
      const before = this.#arrivals[at - 1]?.arrived ?? arrived;
      if (arrived <= fault || before > since + SETTLED || arrived - before < longest) return;
      [longest, end] = [arrived - before, arrived];
    });
    return end;
  }

  /** Returns the usual time between two arrivals before the fault, in ms: the median of some. */
  #usual(fault) {
    const before = this.#arrivals.filter(({ arrived }) => arrived <= fault).slice(-USUAL).map(({ arrived }) => arrived);
    const pauses = before.slice(1).map((arrived, at) => arrived - before[at]).sort((one, other) => one - other);
    return pauses[Math.floor(pauses.length / 2)] ?? 0;
  }
}

/** Pause in arrivals, in ms, that counts as a gap. */
export const GAP = 700;
/** Time without a gap, in ms, after which it flows. */
const SETTLED = 1_000;
const KEPT = 2_000;
/** Arrivals before a fault that say how often something comes. */
const USUAL = 20;
