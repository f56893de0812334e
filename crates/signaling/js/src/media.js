// Media that the page sends, on each peer connection that replaces another.

import { harmless } from "./page.js";

/** @import { PeerConnectionOptions } from "./types.js" */

/** Media that the page sends. */
export class Media {
  /** Transceivers that send the tracks of a stream. @type {Map<MediaStreamTrack, RTCRtpTransceiver>} */
  #sending = new Map();
  /** Tracks that the page has stopped sending: a new connection does not send them. @type {Set<MediaStreamTrack>} */
  #stopped = new Set();
  #media;

  /** @param {PeerConnectionOptions["media"]} media */
  constructor(media) {
    this.#media = media;
  }

  /**
   * Lets the page set up a new connection, if it does that itself.
   *
   * @param {RTCPeerConnection} connection
   */
  setUp(connection) {
    const media = this.#media;
    if (typeof media === "function") harmless(() => media(connection));
  }

  /**
   * Adds the tracks of a stream to the next offer.
   *
   * @param {RTCPeerConnection} connection
   * @returns {boolean} whether there are any
   */
  addTracks(connection) {
    const media = this.#media;
    if (!media || typeof media === "function") return false;
    for (const track of media.getTracks()) {
      if (this.#stopped.has(track)) continue;
      const sender = connection.addTrack(track, media);
      const transceiver = connection.getTransceivers().find((one) => one.sender === sender);
      if (transceiver) this.#sending.set(track, transceiver);
    }
    return this.#sending.size > 0;
  }

  /** Notes, before a connection is closed, which tracks the page has stopped. */
  release() {
    for (const [track, { direction }] of this.#sending) if (direction === "stopped") this.#stopped.add(track);
    this.#sending.clear();
  }
}
