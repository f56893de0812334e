// Path to the server of one browser's peer connection: ICE, DTLS, and how long they may take.

/** Path to the server of one of the browser's peer connections. Restarts ICE before it counts the connection as lost. */
export class Path {
  /** Whether ICE was restarted, and has not connected since. */
  #restarted = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #connection;
  #host;

  /**
   * @param {RTCPeerConnection} connection
   * @param {{
   *   isOver: () => boolean,
   *   reachable: () => boolean,
   *   changed: (state: RTCPeerConnectionState) => void,
   *   connected: () => void,
   *   lost: () => void,
   * }} host `isOver`: whether the connection was closed or replaced
   */
  constructor(connection, host) {
    this.#connection = connection;
    this.#host = host;
    connection.onconnectionstatechange = () => this.#changed();
  }

  /** Notes that the server has answered: the connection begins now. */
  begin() {
    if (this.#connection.connectionState === "new") this.#expect();
  }

  /** Looks for another path, because this one may be dead. */
  renew() {
    if (this.#restarted) return;
    // A connection that still counts as connected reports it if it finds no other path.
    if (this.#connection.connectionState === "connected") this.#connection.restartIce();
    else this.#restart();
  }

  /** Ends the time limits. */
  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #changed() {
    const { connectionState: state, iceConnectionState: ice } = this.#connection;
    this.#host.changed(state);
    // A listener may have closed it.
    if (this.#host.isOver()) return;
    switch (state) {
      case "connecting":
        if (this.#timer === undefined) this.#expect();
        break;
      case "connected":
        this.stop();
        this.#restarted = false;
        this.#host.connected();
        break;
      case "disconnected":
        this.#within(DISCONNECTED_TIME, () => this.#restart());
        break;
      case "failed":
        // If ICE is not the cause, a restart does not help.
        if (ice === "failed" && !this.#restarted) this.#restart();
        else this.#host.lost();
        break;
    }
  }

  #restart() {
    this.#restarted = true;
    this.#connection.restartIce();
    this.#expect();
  }

  /** Gives ICE and DTLS their time; while the server cannot be reached, some more. */
  #expect() {
    this.#within(CONNECT_TIME, () => (this.#host.reachable() ? this.#host.lost() : this.#expect()));
  }

  /**
   * @param {number} milliseconds
   * @param {() => void} then
   */
  #within(milliseconds, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, milliseconds);
  }
}

/** Time limit of ICE and DTLS, in ms. */
const CONNECT_TIME = 15_000;
/** Time that a connection may be disconnected before ICE is restarted, in ms: a short gap heals by itself. */
const DISCONNECTED_TIME = 3_000;
