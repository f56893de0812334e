// Tracks that the page publishes one by one, on each peer connection that replaces another.

import { CallboardError } from "./errors.js";
import { encodings } from "./simulcast.js";

/** @import { PublishOptions, TrackSource } from "./types.js" */

/** A track that the page publishes. Created by {@link Client#publish}. */
export class Publication {
  /** What it shows or plays, as the others are told. @readonly @type {TrackSource} */
  source;
  /** What else the others are told of it. @readonly @type {any} */
  metadata;
  #track;
  #muted = false;
  #mutedByServer = false;
  #host;

  /**
   * @param {MediaStreamTrack} track
   * @param {{ source: TrackSource, metadata: any }} told
   * @param {{
   *   muted: (publication: Publication) => void,
   *   replace: (publication: Publication, track: MediaStreamTrack) => Promise<void>,
   *   unpublish: (publication: Publication) => void,
   * }} host
   */
  constructor(track, { source, metadata }, host) {
    this.#track = track;
    this.source = source;
    this.metadata = metadata;
    this.#host = host;
  }

  /** The track that is sent. */
  get track() {
    return this.#track;
  }

  /** Whether it is muted. */
  get muted() {
    return this.#muted;
  }

  /**
   * Whether the application on the server has muted it: nothing of it is forwarded then, whether or not the page has
   * {@link muted} it as well.
   */
  get mutedByServer() {
    return this.#mutedByServer;
  }

  /**
   * Notes whether the application on the server has muted it.
   *
   * @internal
   * @param {boolean} muted
   */
  handleMuted(muted) {
    this.#mutedByServer = muted;
  }

  /**
   * Mutes the track, or ends that. While it is muted, it is not `enabled`, the server forwards nothing of it, and the
   * others are told.
   *
   * @param {boolean} [muted]
   */
  mute(muted = true) {
    this.#muted = muted;
    this.#track.enabled = !muted;
    this.#host.muted(this);
  }

  /**
   * Sends another track of the same kind in its place, such as another camera. Nothing is told to the others.
   *
   * @param {MediaStreamTrack} track
   * @returns {Promise<void>} rejected with the browser's reason; then the track before is sent on
   */
  async replace(track) {
    track.enabled = !this.#muted;
    await this.#host.replace(this, track);
    this.#track = track;
  }

  /** Sends it no more. The track is not stopped. */
  unpublish() {
    this.#host.unpublish(this);
  }
}

/** All that the page publishes over one peer connection to the server, and over each that replaces it. */
export class Publications {
  /** With the transceivers of the current connection. @type {Map<Publication, RTCRtpTransceiver | null>} */
  #published = new Map();
  /** The same over the connection before, while that lasts. @type {Map<Publication, RTCRtpTransceiver | null>} */
  #before = new Map();
  /** Current connection, from its first offer on. @type {RTCPeerConnection | null} */
  #connection = null;
  /** What the server was told of the tracks of this connection. */
  #described = "[]";
  /** Whether the server was told that they are muted. @type {Map<Publication, boolean>} */
  #told = new Map();
  /** Transceivers in which nothing is sent any more. @type {Set<RTCRtpTransceiver>} */
  #left = new Set();
  #tell;
  #simulcast;

  /**
   * @param {(event: string, data: any) => boolean} tell
   * @param {boolean} simulcast whether pictures of cameras are sent in several sizes
   */
  constructor(tell, simulcast) {
    this.#tell = tell;
    this.#simulcast = simulcast;
  }

  /**
   * Publishes a track.
   *
   * @param {MediaStreamTrack} track
   * @param {PublishOptions} options
   * @returns {Publication}
   */
  publish(track, { source = track.kind === "audio" ? "microphone" : "camera", metadata = null }) {
    if (new TextEncoder().encode(JSON.stringify(metadata)).length > LONGEST_METADATA) {
      throw new CallboardError("too_large", `metadata must be at most ${LONGEST_METADATA} bytes of JSON`);
    }
    const publication = new Publication(track, { source, metadata }, {
      muted: () => this.settle(),
      replace: (one, other) => this.#replace(one, other),
      unpublish: (one) => this.#unpublish(one),
    });
    this.#published.set(publication, this.#connection ? this.#send(this.#connection, publication) : null);
    return publication;
  }

  /**
   * Adds the tracks to the first offer of a connection.
   *
   * @param {RTCPeerConnection} connection
   * @returns {boolean} whether there are any
   */
  addTo(connection) {
    this.#connection = connection;
    for (const publication of this.#published.keys()) this.#published.set(publication, this.#send(connection, publication));
    return this.#published.size > 0;
  }

  /** Tells the server of the tracks, before the offer that carries them. */
  describe() {
    const tracks = [];
    for (const [publication, transceiver] of this.#published) {
      if (!transceiver?.mid) continue;
      const { source, metadata, muted } = publication;
      tracks.push({ mid: transceiver.mid, source, metadata, muted });
      // What the server knows already stays as it is.
      if (!this.#told.has(publication)) this.#told.set(publication, muted);
    }
    const described = JSON.stringify(tracks);
    if (described !== this.#described && this.#tell("media:publish", { tracks })) this.#described = described;
  }

  /** Tells the server what is muted, if it was not told yet. */
  settle() {
    for (const [publication, transceiver] of this.#published) {
      const { muted } = publication;
      const before = this.#told.get(publication);
      if (!transceiver?.mid || before === undefined || before === muted) continue;
      if (this.#tell("media:mute", { mid: transceiver.mid, muted })) this.#told.set(publication, muted);
    }
  }

  /**
   * Notes that the application on the server has muted what is sent in a transceiver, or ends that.
   *
   * @param {RTCRtpTransceiver | undefined} transceiver
   * @param {boolean} muted
   * @returns {Publication | null} what is sent there
   */
  handleMuted(transceiver, muted) {
    const sent = [...this.#published].find(([, one]) => one && one === transceiver);
    sent?.[0].handleMuted(muted);
    return sent?.[0] ?? null;
  }

  /**
   * Forgets the connection, which is about to be replaced.
   *
   * @param {boolean} [lasts] whether it goes on until the next one is connected
   */
  release(lasts = false) {
    this.#before = lasts ? new Map(this.#published) : new Map();
    this.#connection = null;
    // What was told of other sections must not be taken for that of the next.
    if (this.#described !== "[]") this.#described = "";
    this.#told.clear();
    this.#left.clear();
    for (const publication of this.#published.keys()) {
      // The server knows nothing of the next one.
      publication.handleMuted(false);
      this.#published.set(publication, null);
    }
  }

  /** Notes that the connection before the current one has ended. */
  releaseBefore() {
    this.#before.clear();
  }

  /** Ends all, with the last connection. */
  clear() {
    this.release();
    this.#published.clear();
  }

  /**
   * @param {Publication} publication
   * @param {MediaStreamTrack} track
   */
  async #replace(publication, track) {
    // It is about to end.
    this.#before.get(publication)?.sender.replaceTrack(track).catch(() => {});
    const transceiver = this.#published.get(publication);
    try {
      await transceiver?.sender.replaceTrack(track);
    } catch (error) {
      // A connection that was lost meanwhile has taken nothing.
      if (this.#published.get(publication) === transceiver) throw error;
    }
    const now = this.#published.get(publication);
    if (now && now !== transceiver) await now.sender.replaceTrack(track);
  }

  /** @param {Publication} publication */
  #unpublish(publication) {
    const transceiver = this.#published.get(publication);
    this.#published.delete(publication);
    this.#told.delete(publication);
    this.#before.get(publication)?.sender.replaceTrack(null).catch(() => {});
    this.#before.delete(publication);
    if (!transceiver) return;
    // Not stopped: so the next track can take its section.
    transceiver.direction = "inactive";
    transceiver.sender.replaceTrack(null).catch(() => {});
    this.#left.add(transceiver);
  }

  /**
   * Sends a track in a section that was left, if the server knows that, or else in a new one.
   *
   * @param {RTCPeerConnection} connection
   * @param {Publication} publication
   * @returns {RTCRtpTransceiver}
   */
  #send(connection, { track, source }) {
    const fits = (/** @type {RTCRtpTransceiver} */ { receiver, currentDirection }) =>
      receiver.track.kind === track.kind && currentDirection === "inactive";
    const left = [...this.#left].find(fits);
    if (!left) {
      const sendEncodings = this.#simulcast && source === "camera" ? encodings(track.getSettings()) : [];
      return connection.addTransceiver(track, { direction: "sendonly", ...(sendEncodings.length > 0 && { sendEncodings }) });
    }
    this.#left.delete(left);
    left.direction = "sendonly";
    left.sender.replaceTrack(track).catch(() => {});
    return left;
  }
}

/** Longest metadata of a track, in bytes of JSON, as on the server. */
const LONGEST_METADATA = 1_024;
