// Bookkeeping of whether messages or media flow, and since when without a break.

/** Arrivals of one kind, such as the answers to our messages. */
export class Flow {
  /** @type {{ sent: number, arrived: number }[]} */
  #arrivals = [];
  #pause;

  /** @param {number} [pause] time between two arrivals, in ms, that is noticed; the longest one after a fault counts */
  constructor(pause = Infinity) {
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
   * Returns how long after `fault` it flowed again, in ms; null while that is not known. It flows again from the first
   * arrival of something sent after the fault that was followed by no gap; where it paused after that, from the end of
   * the longest pause.
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
    return now - since >= SETTLED ? this.#paused(since) - fault : null;
  }

  /** Returns when the longest pause ended that is noticed and that began before it had settled, or `since`. */
  #paused(since) {
    let [longest, end] = [this.#pause, since];
    this.#arrivals.forEach(({ arrived }, at) => {
      const before = this.#arrivals[at - 1]?.arrived ?? arrived;
      if (arrived < since || before > since + SETTLED || arrived - before < longest) return;
      [longest, end] = [arrived - before, arrived];
    });
    return end;
  }
}

/** Pause in arrivals, in ms, that counts as a gap. */
export const GAP = 700;
/** Time without a gap, in ms, after which it flows. */
const SETTLED = 1_000;
const KEPT = 2_000;
