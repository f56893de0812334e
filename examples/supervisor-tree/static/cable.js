// The WebSocket's cable: can be unplugged, to show how a call goes on when its WebSocket breaks.

const plugged = new Set();

/** WebSocket that we can cut. The client uses it without knowing. */
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

/** Cuts the WebSocket, without the goodbye of a client that leaves. */
export function unplug() {
  for (const socket of plugged) socket.close(CUT);
}

/**
 * Close code by which neither the server takes us to have left, nor, when it is echoed, the client takes the server to
 * have closed for good.
 */
const CUT = 3008;
