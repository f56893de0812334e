// WebSockets that can be unplugged, to show how a call goes on when its WebSocket breaks.

const openSockets = new Set();

/** WebSocket that we can cut. The client uses it without knowing. */
class UnpluggableSocket extends WebSocket {
  /** @param {ConstructorParameters<typeof WebSocket>} options */
  constructor(...options) {
    super(...options);
    if (!String(options[0]).includes("/socket/")) return;
    openSockets.add(this);
    this.addEventListener("close", () => openSockets.delete(this));
  }
}
globalThis.WebSocket = UnpluggableSocket;

/** Cuts the WebSocket, without the goodbye of a client that leaves. */
export function unplug() {
  for (const socket of openSockets) socket.close(CUT);
}

/**
 * Close code by which neither the server takes us to have left, nor, when it is echoed, the client takes the server to
 * have closed for good.
 */
const CUT = 3008;
