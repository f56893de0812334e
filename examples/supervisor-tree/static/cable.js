// The WebSocket's cable: can be pulled out, so that one sees what becomes of a call whose WebSocket breaks.

const plugged = new Set();

/** A WebSocket that we can cut. The client uses it without knowing. */
class Cable extends WebSocket {
  /** @param {ConstructorParameters<typeof WebSocket>} options */
  constructor(...options) {
    super(...options);
    if (!String(options[0]).includes("/socket/")) return;
    plugged.add(this);
    this.addEventListener("close", () => plugged.delete(this));
  }
}
globalThis.WebSocket = Cable;

/** Cut the WebSocket, without the goodbye of somebody who leaves. */
export function unplug() {
  for (const socket of plugged) socket.close(CUT);
}

/** No code by which the server would take us to have left, or which, echoed, says that it wants us no more. */
const CUT = 3008;
