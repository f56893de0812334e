// Streams of the other members: what the server says about the media of the room, put together for the page.

import { MEMORY, REPEATS } from "./bounds.js";
import { CallboardError } from "./errors.js";
import { Tally } from "./retries.js";

/** @import { Flow, PublishedTrack, TrackChanges } from "./types.js" */

/** Streams of the other members over one peer connection: one for each whose tracks flow in its sections. */
export class Streams {
  /** Tracks that the others publish, by their ids. @type {Map<string, PublishedTrack>} */
  #tracks = new Map();
  /** What flows in a section, by its `mid`. @type {Map<string, { id: string, peer: string, track: MediaStreamTrack }>} */
  #slots = new Map();
  /** By peer. @type {Map<string, MediaStream>} */
  #streams = new Map();
  /** Peers that have left lately: nothing of them flows any more. @type {Set<string>} */
  #gone = new Set();
  /** Times that the server has given up this client's media. */
  #failed = new Tally(REPEATS, MEMORY);
  /** Whether media has failed, and was not begun again. */
  #rests = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #beginning;
  #connection;
  #host;

  /**
   * @param {RTCPeerConnection} connection
   * @param {{ emit: (event: string, ...told: any[]) => void, flowing: (removed?: string[]) => void, offer: () => void }} host
   *   `flowing`: told when it has changed what is published or received, and what is published no more
   */
  constructor(connection, host) {
    this.#connection = connection;
    this.#host = host;
  }

  /**
   * Returns how many tracks of this kind the others publish.
   *
   * @param {string} kind
   * @returns {number}
   */
  published(kind) {
    return [...this.#tracks.values()].filter((track) => track.kind === kind).length;
  }

  /**
   * Returns the kind of a track of another, and what comes here of it, if it has a section.
   *
   * @param {string} track its id
   * @returns {{ kind: string, received: MediaStreamTrack | null } | null}
   */
  received(track) {
    const slot = [...this.#slots.values()].find(({ id }) => id === track);
    const kind = slot?.track.kind ?? this.#tracks.get(track)?.kind;
    return kind ? { kind, received: slot?.track ?? null } : null;
  }

  /**
   * Handles which tracks the others publish.
   *
   * @param {PublishedTrack[]} added
   * @param {(Partial<PublishedTrack> & { track: string })[]} changed what is told of them now
   * @param {string[]} removed
   */
  handleTracks(added, changed, removed) {
    /** @type {TrackChanges} */
    const changes = { added, changed: [], removed: [] };
    for (const id of removed) {
      const known = this.#tracks.get(id);
      if (known && this.#tracks.delete(id)) changes.removed.push(known);
    }
    for (const track of added) this.#tracks.set(track.track, track);
    for (const told of changed) {
      const known = this.#tracks.get(told.track);
      // Its own tracks are not among them.
      if (!known) continue;
      const now = Object.freeze({ ...known, ...told });
      this.#tracks.set(told.track, now);
      changes.changed.push(now);
    }
    this.#host.flowing(removed);
    this.#host.emit("tracks", [...this.#tracks.values()], changes);
  }

  /**
   * Handles which tracks flow in which sections. What was said before may be said again.
   *
   * @param {Map<string, PublishedTrack | null>} slots by `mid`
   * @param {Flow[]} flows
   */
  handleSlots(slots, flows) {
    /** @type {Set<string>} */
    const changed = new Set();
    const news = [...slots].filter(([mid, bound]) => this.#slots.get(mid)?.id !== bound?.track);
    // A track is taken from one peer before it is given to another: nobody is shown as somebody else.
    for (const [mid] of news) {
      const slot = this.#slots.get(mid);
      if (!slot) continue;
      this.#slots.delete(mid);
      this.#streams.get(slot.peer)?.removeTrack(slot.track);
      changed.add(slot.peer);
    }
    for (const [mid, bound] of news) {
      const track = this.#connection.getTransceivers().find((one) => one.mid === mid)?.receiver.track;
      if (!bound || !track || this.#gone.has(bound.peer)) continue;
      const { peer, track: id } = bound;
      this.#slots.set(mid, { id, peer, track });
      const stream = this.#streams.get(peer) ?? new MediaStream();
      stream.addTrack(track);
      this.#streams.set(peer, stream);
      changed.add(peer);
    }
    if (news.length > 0) this.#host.flowing();
    for (const peer of changed) this.#tell(peer);
    const bound = new Set([...this.#slots.values()].map(({ id }) => id));
    for (const flow of flows) if (bound.has(flow.track)) this.#host.emit("flow", flow);
  }

  /**
   * Handles that a peer has left: its stream ends at once, whenever the server says that of its tracks, one by one.
   *
   * @param {string} peer
   */
  handleLeft(peer) {
    this.#gone.add(peer);
    for (const earlier of this.#gone) if (this.#gone.size > MOST_GONE) this.#gone.delete(earlier);
    for (const [mid, slot] of this.#slots) {
      if (slot.peer !== peer) continue;
      this.#slots.delete(mid);
      this.#streams.get(peer)?.removeTrack(slot.track);
    }
    this.#host.flowing();
    if (this.#streams.has(peer)) this.#tell(peer);
  }

  /** Handles that the server has given up this client's media, which the next offer begins again. */
  handleFailed() {
    this.clear();
    this.#rests = true;
    if (!this.#failed.add()) this.#beginning = setTimeout(() => this.retry(), PAUSE);
    this.#host.emit("error", new CallboardError("media_failed", "the media of this client has failed on the server"));
  }

  /** Begins media that has failed again. */
  retry() {
    if (!this.#rests) return;
    this.#rests = false;
    this.#host.offer();
  }

  /** Ends all streams, with their peer connection or with the media of the room. */
  clear() {
    clearTimeout(this.#beginning);
    const peers = [...this.#streams.keys()];
    const removed = [...this.#tracks.values()];
    for (const map of [this.#tracks, this.#slots, this.#streams]) map.clear();
    this.#host.flowing();
    // Later, because a listener may change the connection that is about to replace this one.
    queueMicrotask(() => {
      for (const peer of peers) this.#host.emit("stream", peer, null);
      if (removed.length > 0) this.#host.emit("tracks", [], { added: [], changed: [], removed });
    });
  }

  /** @param {string} peer */
  #tell(peer) {
    const stream = this.#streams.get(peer);
    const flows = stream && stream.getTracks().length > 0;
    if (!flows) this.#streams.delete(peer);
    this.#host.emit("stream", peer, flows ? stream : null);
  }
}

/** Time before media that has failed is begun again, in ms. */
const PAUSE = 2_000;
/** Peers that have left and are remembered at most. */
const MOST_GONE = 256;
