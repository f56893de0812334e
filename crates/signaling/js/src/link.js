// Link to the server: a peer connection, and each that replaces it.

import { Channels } from "./channels.js";
import { CallboardError } from "./errors.js";
import { Media } from "./media.js";
import { Negotiation } from "./negotiation.js";
import { Overlap } from "./overlap.js";
import { Path } from "./path.js";
import { Patience } from "./patience.js";
import { Publications } from "./publications.js";
import { sendWanted } from "./simulcast.js";
import { Streams } from "./streams.js";

/** @import { Flow, Options, PeerConnectionOptions, PublishedTrack, Wishes } from "./types.js" */

/** Peer connection to the server, and each that replaces it. */
export class Link {
  /** Whether it was closed for good. */
  closed = false;
  /** Tracks that the page publishes one by one. */
  publications;
  /** @type {{ connection: RTCPeerConnection, channels: Channels, negotiation: Negotiation, path: Path, streams: Streams }} */
  #current;
  /** The connection before, while it lasts. @type {Overlap | null} */
  #overlap = null;
  #media;
  #options;
  #labels;
  #host;
  #patience = new Patience();
  /** Whether the server has warned about the rate of this connection. */
  #warned = false;
  /** Sections of this connection in which the application on the server has muted what is sent. @type {Set<string>} */
  #mutedMids = new Set();
  /** Set while no connection is tried; `network`: whether its change may help. @type {{ network: boolean } | null} */
  #resting = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #reopening;

  /**
   * @param {Options & Pick<PeerConnectionOptions, "media" | "receive" | "simulcast"> & { iceServers: RTCIceServer[] }} options
   * @param {Map<string, RTCDataChannelInit>} labels of the channels to create
   * @param {{
   *   tell: (event: string, data: any) => boolean,
   *   reachable: () => boolean,
   *   emit: (event: string, ...told: any[]) => void,
   *   data: (channel: string, data: string | ArrayBuffer) => void,
   *   wishes: () => Wishes | null,
   *   flowing: (removed?: string[]) => void,
   * }} host
   */
  constructor(options, labels, host) {
    this.#options = options;
    this.#labels = labels;
    this.#host = host;
    const simulcast = options.simulcast ?? Boolean(options.receive);
    this.#media = new Media(options, simulcast);
    this.publications = new Publications(host.tell, simulcast);
    this.#current = this.#open(null);
  }

  /** The browser's current peer connection: another one after a loss for good, or after a move. */
  get connection() {
    return this.#overlap && !this.#overlap.isConnected ? this.#overlap.connection : this.#current.connection;
  }

  /** @returns {RTCPeerConnectionState} */
  get state() {
    if (this.#resting) return "failed";
    return this.#reopening === undefined ? this.connection.connectionState : "new";
  }

  get channels() {
    return this.#current.channels;
  }

  get negotiation() {
    return this.#current.negotiation;
  }

  /** Closes the connection for good, here and on the server. */
  close() {
    if (this.closed) return;
    this.closed = true;
    this.#dispose();
    this.publications.clear();
    this.#host.tell("webrtc:close", {});
    this.#host.emit("webrtc", "closed");
  }

  /** Tries again, after `webrtc_gave_up` or `media_failed`. */
  retry() {
    if (this.closed) return;
    if (!this.#resting) return this.#current.streams.retry();
    this.#resting = null;
    this.#patience.forget();
    this.renew();
  }

  /**
   * @param {string} label
   * @returns {RTCDataChannel | undefined}
   */
  openChannel(label) {
    return this.channels.open(label);
  }

  /**
   * Adds a data channel, also to those that replace this connection.
   *
   * @param {string} label
   * @param {RTCDataChannelInit} init
   */
  addChannel(label, init) {
    if (this.#current.connection.signalingState !== "closed") this.channels.create(label, init);
  }

  /** Tells the server what it could not be told while the WebSocket was lost. */
  settle() {
    this.negotiation.settle();
    this.publications.settle();
  }

  /** Starts a new connection at once, because the server does not know the old one. */
  renew() {
    if (this.#resting) return;
    if (this.#reopening === undefined) this.#host.emit("webrtc", "new");
    if (this.closed) return;
    this.#dispose();
    this.#replace(null);
  }

  /** Starts a new connection, to another server, beside the one that is there: that lasts until the new one carries media. */
  move() {
    this.#endOverlap();
    const { connection, channels, negotiation, path, streams } = this.#current;
    const isUp = connection.connectionState === "connected";
    if (this.closed || this.#resting || this.#reopening !== undefined || !isUp) return this.renew();
    negotiation.stopWaiting();
    path.stop();
    connection.onnegotiationneeded = connection.onicecandidate = connection.ontrack = null;
    this.#media.release();
    this.publications.release(true);
    // The application is at the other server by now.
    channels.leave();
    if (!this.#replace(streams)) return;
    this.#overlap = new Overlap(connection, {
      carries: () => this.#current.streams.carry(),
      over: () => this.#endOverlap(),
      late: () => this.renew(),
    });
  }

  /**
   * @param {Streams | null} before those of the connection before, if that lasts
   * @returns {boolean} whether there is another connection
   */
  #replace(before) {
    try {
      this.#current = this.#open(before);
      return true;
    } catch (error) {
      // The browser has reached its limit of connections.
      this.#failed("no_offer", error);
      return false;
    }
  }

  /** Ends the connection before, if it lasts. */
  #endOverlap() {
    const overlap = this.#overlap;
    if (!overlap) return;
    this.#overlap = null;
    this.publications.releaseBefore();
    this.#current.streams.goOn();
    overlap.end();
    if (!overlap.isConnected) this.#host.emit("webrtc", this.state);
  }

  /**
   * Handles the loss of the socket. It may have failed because of this client's offer, and would fail with the next one
   * too.
   *
   * @param {boolean} fault whether the server has closed it over something that was sent
   */
  socketLost(fault) {
    if (this.closed || this.#resting || !this.negotiation.isWaiting) return;
    const enough = this.#patience.suspect(fault);
    if (enough) this.#rest(enough);
  }

  /** Handles a possible change of the network: the old path may be dead. */
  networkChanged() {
    if (this.closed) return;
    if (this.#resting?.network) return this.retry();
    if (this.negotiation.answered && this.#reopening === undefined) this.#current.path.renew();
  }

  /** Handles a warning of the server about the rate. */
  handleWarning() {
    this.#warned = true;
  }

  /**
   * @param {string} state of the server's side
   * @param {string} [reason] if it has ended, and neither side has just closed it
   */
  handleState(state, reason) {
    if (!this.negotiation.answered || (state !== "failed" && state !== "closed")) return;
    const enough = this.#warned ? this.#patience.flood() : null;
    if (enough) return this.#rest(enough);
    this.#reopen(undefined, reason);
  }

  /**
   * Returns whether a refusal is of a candidate of the connection before this one, which was on its way when the server
   * ended that connection. It is no fault.
   *
   * @param {{ event?: string, error?: string } | null} details
   */
  isLate(details) {
    const { event, error } = details ?? {};
    const isAnswered = this.#reopening === undefined && this.negotiation.answered;
    return event === "webrtc:ice" && error === "no_webrtc_session" && !isAnswered;
  }

  /** @param {{ event?: string, error?: string } | null} details */
  handleRefusal(details) {
    if (this.closed) return;
    const { event, error } = details ?? {};
    if (error === "webrtc_disabled") return this.close();
    const { answered } = this.negotiation;
    const offered = event === "webrtc:offer" && this.#current.connection.signalingState === "have-local-offer";
    // The next offer would fail in the same way.
    if (offered) this.#reopen(error === "bad_description" ? error : undefined);
    else if (error === "no_webrtc_session" && answered) this.#reopen();
    // Only this client takes the round for completed. After a timeout it has not answered.
    else if (event === "webrtc:answer" && error !== "timeout" && answered) this.#reopen();
  }

  /**
   * Handles which tracks the others publish.
   *
   * @param {PublishedTrack[]} added
   * @param {(Partial<PublishedTrack> & { track: string })[]} changed
   * @param {string[]} removed
   */
  handleTracks(added, changed, removed) {
    const { connection, negotiation, streams } = this.#current;
    negotiation.afterDescriptions(() => {
      streams.handleTracks(added, changed, removed);
      // A listener may have closed it.
      if (this.#current.connection === connection && !this.closed) this.#media.makeRoom(connection, streams);
    });
  }

  /**
   * Handles which tracks the others publish, all of them: some changes may have been missed.
   *
   * @param {PublishedTrack[]} all
   */
  handleAllTracks(all) {
    const { negotiation, streams } = this.#current;
    negotiation.afterDescriptions(() => {
      const { added, changed, removed } = streams.compare(all);
      if (added.length + changed.length + removed.length > 0) this.handleTracks(added, changed, removed);
    });
  }

  /**
   * @param {Map<string, PublishedTrack | null>} slots what flows in which section, by its `mid`
   * @param {Flow[]} flows and in which layer
   */
  handleSlots(slots, flows) {
    const { negotiation, streams } = this.#current;
    negotiation.afterDescriptions(() => streams.handleSlots(slots, flows));
  }

  /**
   * Returns what comes here of a track that another publishes.
   *
   * @param {string} track its id
   */
  received(track) {
    return this.#current.streams.received(track);
  }

  /** @param {string} peer that is in the room no more */
  handleLeft(peer) {
    this.#current.streams.handleLeft(peer);
  }

  /**
   * @param {string} mid of the section in which they are sent
   * @param {Record<string, boolean>} rids encodings, and whether the server wants them
   */
  handleLayers(mid, rids) {
    const { connection, negotiation } = this.#current;
    negotiation.afterDescriptions(() => sendWanted(connection, mid, rids));
  }

  /**
   * Handles that the application on the server has muted a track of the page, or lets it be heard and seen again.
   *
   * @param {string} mid of the section in which it is sent
   * @param {boolean} muted
   */
  handleMuted(mid, muted) {
    const { connection, negotiation } = this.#current;
    negotiation.afterDescriptions(() => {
      // What was said before may be said again.
      if (this.#mutedMids.has(mid) === muted) return;
      if (muted) this.#mutedMids.add(mid);
      else this.#mutedMids.delete(mid);
      const transceiver = connection.getTransceivers().find((one) => one.mid === mid);
      const publication = this.publications.handleMuted(transceiver, muted);
      this.#host.emit("track_muted", Object.freeze({ mid, muted, track: transceiver?.sender.track ?? null, publication }));
    });
  }

  /** Tells the server what the page wishes, if it has an answer. */
  wish() {
    const wishes = this.negotiation.answered ? this.#host.wishes() : null;
    if (wishes) this.#host.tell("media:wish", this.#current.streams.translate(wishes));
  }

  /** Handles that the server has given up this client's media. */
  handleMediaFailed() {
    const { negotiation, streams } = this.#current;
    negotiation.afterDescriptions(() => streams.handleFailed());
  }

  /**
   * Opens the browser's peer connection that is to be the current one, and returns it with its parts.
   *
   * @param {Streams | null} before those of the connection before, if that lasts
   */
  #open(before) {
    const connection = new RTCPeerConnection({ iceServers: this.#options.iceServers, bundlePolicy: "max-bundle" });
    this.#warned = false;
    this.#mutedMids.clear();
    this.#patience.connectedAt = Infinity;
    const isCurrent = () => this.#current?.connection === connection;
    const isOver = () => !isCurrent() || this.closed;
    const lost = () => this.#reopen();
    const { tell, reachable, emit, data, flowing } = this.#host;
    const channels = new Channels(connection, { isCurrent, emit, data });
    const path = new Path(connection, {
      isOver,
      reachable,
      changed: (state) => {
        if (state === "connected") this.#overlap?.connected();
        // Until then the page has the one before.
        if (!this.#overlap || this.#overlap.isConnected) emit("webrtc", state);
      },
      connected: () => (this.#patience.connectedAt = performance.now()),
      lost,
    });
    const negotiation = new Negotiation(connection, {
      isCurrent,
      isOver,
      tell,
      reachable,
      addTracks: () => {
        const [media, published] = [this.#media.addTracks(connection), this.publications.addTo(connection)];
        return media || published;
      },
      offering: () => this.publications.describe(),
      answered: () => {
        this.#patience.answered();
        path.begin();
        this.wish();
      },
      failed: (code, error) => this.#failed(code, error),
      lost,
    });
    const streams = new Streams(connection, { emit, flowing, offer: () => negotiation.renew() }, before);
    connection.ondatachannel = ({ channel }) => channels.adopt(channel);
    connection.ontrack = (event) => emit("track", event);
    try {
      for (const [label, init] of this.#labels) channels.create(label, init);
    } catch (error) {
      connection.close();
      throw error;
    }
    this.#media.setUp(connection);
    return { connection, channels, negotiation, path, streams };
  }

  /**
   * Reports a failure of the browser that the same offer would repeat, and tries again.
   *
   * @param {string} code
   * @param {unknown} error
   */
  #failed(code, error) {
    this.#host.emit("error", new CallboardError(code, String(error)));
    this.#reopen(code);
  }

  /**
   * Starts a new connection after a delay, unless that has been done too often.
   *
   * @param {string} [same] failure that the same offer would repeat
   * @param {string} [reason] given by the server
   */
  #reopen(same, reason) {
    if (this.closed || this.#resting || this.#reopening !== undefined) return;
    const enough = this.#patience.lose(same);
    if (enough) return this.#rest(enough);
    this.#dispose();
    // An offer of another connection tells the server that this one is over.
    this.#reopening = setTimeout(() => this.renew(), this.#patience.delay(this.#options));
    this.#host.emit("webrtc", "new", ...(reason ? [{ reason }] : []));
  }

  /**
   * Gives up, until the page calls `retry` or, if that may help, the network changes.
   *
   * @param {{ cause: string, network: boolean }} enough
   */
  #rest({ cause, network }) {
    this.#dispose();
    this.#resting = { network };
    this.#host.emit("webrtc", "failed");
    this.#host.emit("error", new CallboardError("webrtc_gave_up", `no peer connection to the server: ${cause}`, { cause }));
  }

  #dispose() {
    this.#overlap?.end();
    this.#overlap = null;
    const { connection, channels, negotiation, path, streams } = this.#current;
    negotiation.stopWaiting();
    path.stop();
    streams.clear();
    clearTimeout(this.#reopening);
    this.#reopening = undefined;
    this.#media.release();
    this.publications.release();
    connection.onnegotiationneeded = connection.onicecandidate = connection.onconnectionstatechange = null;
    connection.ondatachannel = connection.ontrack = null;
    connection.close();
    channels.dispose();
  }
}
