// Media that the page sends and wants to receive, on each peer connection that replaces another.

import { harmless } from "./page.js";
import { encodings } from "./simulcast.js";

/** @import { PeerConnectionOptions } from "./types.js" */

/** Media that the page sends, and the sections in which it receives. */
export class Media {
  /** Transceivers that send the tracks of a stream. @type {Map<MediaStreamTrack, RTCRtpTransceiver>} */
  #sending = new Map();
  /** Tracks that the page has stopped sending: a new connection does not send them. @type {Set<MediaStreamTrack>} */
  #stopped = new Set();
  /** Sections to receive in, beside those in which the page sends. @type {Record<"audio" | "video", number>} */
  #receive;
  #media;
  #simulcast;

  /**
   * @param {Pick<PeerConnectionOptions, "media" | "receive">} options
   * @param {boolean} simulcast whether pictures are sent in several sizes
   */
  constructor({ media, receive }, simulcast) {
    const { audio = 0, video = 0 } = receive ?? {};
    this.#media = media;
    this.#receive = { audio, video };
    this.#simulcast = simulcast;
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
   * Adds the tracks of a stream, and then the sections to receive in, to the next offer.
   *
   * @param {RTCPeerConnection} connection
   * @returns {boolean} whether there are any
   */
  addTracks(connection) {
    const media = this.#media;
    const tracks = media && typeof media !== "function" ? media.getTracks() : [];
    for (const track of tracks) {
      if (this.#stopped.has(track)) continue;
      this.#sending.set(track, this.#add(connection, track, /** @type {MediaStream} */ (media)));
    }
    for (const kind of KINDS) addSections(connection, kind, this.#receive[kind]);
    return this.#sending.size > 0 || KINDS.some((kind) => this.#receive[kind] > 0);
  }

  /**
   * Makes room for tracks of the others that have no section yet: as many sections again, but few enough for the server's
   * limit. Does nothing for a kind that the page does not want to receive.
   *
   * @param {RTCPeerConnection} connection
   * @param {{ published(kind: string): number }} others
   */
  makeRoom(connection, others) {
    for (const kind of KINDS) {
      const now = this.#receive[kind];
      const ours = connection.getTransceivers().filter(({ receiver }) => receiver.track.kind === kind);
      const receiving = ours.filter(({ direction }) => direction === "sendrecv" || direction === "recvonly");
      const missing = others.published(kind) - receiving.length;
      if (now === 0 || now >= MOST_SECTIONS || missing <= 0) continue;
      this.#receive[kind] = Math.min(MOST_SECTIONS, now + Math.max(now, missing));
      addSections(connection, kind, this.#receive[kind] - now);
    }
  }

  /**
   * @param {RTCPeerConnection} connection
   * @param {MediaStreamTrack} track
   * @param {MediaStream} stream
   * @returns {RTCRtpTransceiver}
   */
  #add(connection, track, stream) {
    const sendEncodings = this.#simulcast && track.kind === "video" ? encodings(track.getSettings()) : [];
    if (sendEncodings.length > 0) {
      // It only sends: what a section with encodings receives, browsers do not show. Another one receives in its place.
      addSections(connection, "video", 1);
      return connection.addTransceiver(track, { direction: "sendonly", streams: [stream], sendEncodings });
    }
    const sender = connection.addTrack(track, stream);
    return /** @type {RTCRtpTransceiver} */ (connection.getTransceivers().find((one) => one.sender === sender));
  }

  /** Notes, before a connection is closed, which tracks the page has stopped. */
  release() {
    for (const [track, { direction }] of this.#sending) if (direction === "stopped") this.#stopped.add(track);
    this.#sending.clear();
  }
}

/**
 * @param {RTCPeerConnection} connection
 * @param {"audio" | "video"} kind
 * @param {number} count
 */
function addSections(connection, kind, count) {
  for (let at = 0; at < count; at += 1) connection.addTransceiver(kind, { direction: "recvonly" });
}

/** @type {("audio" | "video")[]} */
const KINDS = ["audio", "video"];
/** Sections of a kind to which those that the page has asked for grow. */
const MOST_SECTIONS = 25;
