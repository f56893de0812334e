// Whether something flows, and since when without a break.

/** Arrivals of one kind, such as the answers to our messages. */
export class Flow {
  /** @type {{ sent: number, arrived: number }[]} */
  #arrivals = [];

  /**
   * Something has arrived.
   *
   * @param {number} [sent] when it was sent, by `performance.now()`; now, if that cannot be known
   */
  mark(sent = performance.now()) {
    this.#arrivals.push({ sent, arrived: performance.now() });
    if (this.#arrivals.length > KEPT) this.#arrivals.splice(0, KEPT / 2);
  }

  /** Whether anything has arrived of late. */
  get alive() {
    return performance.now() - (this.#arrivals.at(-1)?.arrived ?? -Infinity) < GAP;
  }

  /**
   * How long after `shot` it flowed again, in ms; null while that cannot be said. It flows again from the first arrival
   * on, of what was sent after the shot, after which there was no gap any more.
   *
   * @param {number} shot
   * @returns {number | null}
   */
  recovered(shot) {
    const now = performance.now();
    const after = this.#arrivals.filter(({ sent }) => sent >= shot);
    let since = after.at(-1)?.arrived;
    if (since === undefined || now - since > GAP) return null;
    for (const { arrived } of after.reverse()) {
      if (since - arrived > GAP) break;
      since = arrived;
    }
    return now - since >= SETTLED ? since - shot : null;
  }
}

/** Longer than this, in ms, nothing arrives: it does not flow. */
export const GAP = 700;
/** After so long without a gap, in ms, it flows. */
const SETTLED = 1_000;
const KEPT = 2_000;
