// Peer connection to the server, as the application sees it.

/** Peer connection to the server, and each that replaces it. Created by {@link Client#openPeerConnection}. */
export class PeerConnection {
  #link;

  /**
   * @param {{
   *   readonly connection: RTCPeerConnection,
   *   readonly state: RTCPeerConnectionState,
   *   readonly closed: boolean,
   *   openChannel(label: string): RTCDataChannel | undefined,
   *   close(): void,
   *   retry(): void,
   * }} link
   */
  constructor(link) {
    this.#link = link;
  }

  /** The browser's current peer connection: another one after a loss for good. */
  get connection() {
    return this.#link.connection;
  }

  /** State of the current connection; `new` while a lost one is being replaced, `failed` after `webrtc_gave_up`. */
  get state() {
    return this.#link.state;
  }

  /** Whether it was closed for good. */
  get closed() {
    return this.#link.closed;
  }

  /**
   * Returns the data channel with this label, if it is open.
   *
   * @param {string} label
   * @returns {RTCDataChannel | undefined}
   */
  openChannel(label) {
    return this.#link.openChannel(label);
  }

  /** Closes the connection for good, here and on the server. */
  close() {
    this.#link.close();
  }

  /** Tries again, after `webrtc_gave_up` or `media_failed`. */
  retry() {
    this.#link.retry();
  }
}
