// Page around the client: its address, its own code, and what happens to it and to its network. Workers and Node, which
// have no page, lack some of it.

/**
 * Makes an address absolute, as seen from the page.
 *
 * @param {string | URL} url
 * @returns {URL}
 */
export function absolute(url) {
  return new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
}

/**
 * Reports changes that connections notice only after a while: the network is back or another one, the page is visible
 * again, the computer has slept.
 *
 * @param {AbortSignal} signal ends it
 * @param {(network: boolean) => void} changed gets whether it is about the network
 */
export function whenAwake(signal, changed) {
  const { document, navigator } = globalThis;
  globalThis.addEventListener?.("online", () => changed(true), { signal });
  globalThis.addEventListener?.("pageshow", ({ persisted }) => persisted && changed(true), { signal });
  document?.addEventListener("visibilitychange", () => document.visibilityState === "visible" && changed(false), { signal });
  // Not available in every browser; it also reports mere changes of speed.
  const network = /** @type {any} */ (navigator)?.connection;
  let kind = network?.type;
  network?.addEventListener?.(
    "change",
    () => {
      const another = network.type !== kind;
      kind = network.type;
      changed(another);
    },
    { signal },
  );
  let looked = Date.now();
  const looking = setInterval(() => {
    const [now, before] = [Date.now(), looked];
    looked = now;
    if (now - before > LOOK + SLEPT) changed(true);
  }, LOOK);
  signal.addEventListener("abort", () => clearInterval(looking));
}

/**
 * Runs the page's own code: its exceptions are reported to the page, and stop nothing here.
 *
 * @param {() => void} run
 */
export function harmless(run) {
  try {
    run();
  } catch (error) {
    if (typeof reportError === "function") reportError(error);
    else queueMicrotask(() => rethrow(error));
  }
}

/**
 * @param {unknown} error
 * @returns {never}
 */
function rethrow(error) {
  throw error;
}

/** Interval of looks at the clock, and its lead after the computer has slept, in ms. */
const [LOOK, SLEPT] = [5_000, 10_000];
