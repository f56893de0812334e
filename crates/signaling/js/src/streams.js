// Streams of the other members: what the server says about the media of the room, put together for the page.

import { MEMORY, REPEATS } from "./bounds.js";
import { CallboardError } from "./errors.js";
import { Tally } from "./retries.js";

/** @import { Flow, PublishedTrack, TrackChanges, Wishes } from "./types.js" */

/**
 * Streams of the other members over one peer connection: one for each whose tracks flow in its sections. While the
 * connection before it lasts, the page sees what flows there, until the same flows here.
 */
export class Streams {
  /** Tracks that the others publish, by their ids. @type {Map<string, PublishedTrack>} */
  #tracks = new Map();
  /** What flows in a section, by its `mid`. @type {Map<string, { id: string, peer: string, track: MediaStreamTrack }>} */
  #slots = new Map();
  /** Peers of which the last pictures of tracks are. @type {WeakMap<MediaStreamTrack, string>} */
  #owners = new WeakMap();
  /** Tracks that are kept black for now. @type {WeakSet<MediaStreamTrack>} */
  #black = new WeakSet();
  /** By peer. @type {Map<string, MediaStream>} */
  #streams = new Map();
  /** Those of the connection before, while that lasts. @type {Streams | null} */
  #before;
  /** Ids by which the page knows tracks that the server names otherwise. @type {Map<string, string>} */
  #names = new Map();
  /** Tracks that can be shown here. @type {WeakSet<MediaStreamTrack>} */
  #carrying = new WeakSet();
  /** Times at which the first pictures of tracks had come. @type {WeakMap<MediaStreamTrack, number>} */
  #begun = new WeakMap();
  /** Pictures of tracks that had come, and since when no further ones have. @type {WeakMap<MediaStreamTrack, { come: number, since: number }>} */
  #counts = new WeakMap();
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
   * @param {Streams | null} before those of the connection that this one replaces, if that lasts for now
   */
  constructor(connection, host, before) {
    this.#connection = connection;
    this.#host = host;
    this.#before = before;
    if (before) [this.#streams, this.#gone] = [before.#streams, before.#gone];
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
    const slot = this.#slot(track);
    const earlier = slot && this.#carries(slot.track) ? null : this.#before?.received(track);
    if (earlier?.received) return earlier;
    const kind = slot?.track.kind ?? this.#tracks.get(track)?.kind ?? earlier?.kind;
    return kind ? { kind, received: slot?.track ?? null } : null;
  }

  /**
   * Returns wishes with the ids by which the server knows the tracks.
   *
   * @param {Wishes} wishes
   * @returns {Wishes}
   */
  translate(wishes) {
    if (this.#names.size === 0) return wishes;
    const theirs = new Map([...this.#names].map(([their, our]) => [our, their]));
    const their = (/** @type {string} */ id) => theirs.get(id) ?? id;
    const { tracks, order } = wishes;
    return {
      ...wishes,
      ...(tracks && { tracks: Object.fromEntries(Object.entries(tracks).map(([id, wish]) => [their(id), wish])) }),
      ...(order && { order: order.map(their) }),
    };
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
    const changes = { added: added.map((track) => this.#named(track)), changed: [], removed: [] };
    const gone = removed.map((id) => this.#name(id));
    for (const id of gone) {
      const known = this.#tracks.get(id);
      if (known && this.#tracks.delete(id)) changes.removed.push(known);
    }
    for (const track of changes.added) this.#tracks.set(track.track, track);
    for (const one of changed) {
      const told = { ...one, track: this.#name(one.track) };
      const known = this.#tracks.get(told.track);
      // Its own tracks are not among them.
      if (!known) continue;
      const now = Object.freeze({ ...known, ...told });
      this.#tracks.set(told.track, now);
      changes.changed.push(now);
    }
    this.#host.flowing(gone);
    if (!this.#before) this.#host.emit("tracks", [...this.#tracks.values()], changes);
  }

  /**
   * Compares all tracks of the others with those that are known.
   *
   * @param {PublishedTrack[]} all
   */
  compare(all) {
    const known = (/** @type {PublishedTrack} */ { track }) => this.#tracks.get(this.#name(track));
    const present = new Set(all.map(({ track }) => this.#name(track)));
    return {
      added: all.filter((track) => !known(track)),
      changed: all.filter((track) => differs(known(track), track)),
      removed: [...this.#tracks.keys()].filter((id) => !present.has(id)),
    };
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
    const named = [...slots].map(([mid, bound]) => /** @type {const} */ ([mid, bound && this.#named(bound)]));
    const news = named.filter(([mid, bound]) => this.#slots.get(mid)?.id !== bound?.track);
    // A track is taken from one peer before it is given to another: no peer is shown as another one.
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
      const slot = { id, peer, track };
      this.#slots.set(mid, slot);
      if (track.kind === "video") this.#own(slot);
      if (this.#before && !this.#carries(track)) continue;
      this.#show(peer, track);
      changed.add(peer);
    }
    if (news.length > 0) this.#host.flowing();
    for (const peer of changed) this.#tell(peer);
    const bound = new Set([...this.#slots.values()].map(({ id }) => id));
    const ours = flows.map((flow) => Object.freeze({ ...flow, track: this.#name(flow.track) }));
    for (const flow of ours) if (bound.has(flow.track)) this.#host.emit("flow", flow);
  }

  /**
   * Shows what carries media by now in place of what flows over the connection before.
   *
   * @returns {Promise<boolean>} whether all does
   */
  async carry() {
    for (const slot of [...this.#slots.values()]) {
      if (!this.#carries(slot.track) && (await this.#isReady(slot))) this.#carrying.add(slot.track);
    }
    const before = this.#before;
    if (!before) return true;
    /** @type {Set<string>} */
    const changed = new Set();
    for (const { id, peer, track } of this.#slots.values()) {
      if (!this.#carries(track) || this.#streams.get(peer)?.getTracks().includes(track)) continue;
      this.#show(peer, track);
      const earlier = before.#slot(id);
      if (earlier) this.#streams.get(peer)?.removeTrack(earlier.track);
      changed.add(peer);
    }
    if (changed.size > 0) this.#host.flowing();
    for (const peer of changed) this.#tell(peer);
    return [...before.#slots.values()].every(({ id }) => {
      const slot = this.#slot(id);
      return slot && this.#carries(slot.track);
    });
  }

  /** Shows what flows here alone, because the connection before ends. */
  goOn() {
    const before = this.#before;
    if (!before) return;
    this.#before = null;
    /** @type {Set<string>} */
    const changed = new Set();
    for (const { peer, track } of before.#slots.values()) {
      const stream = this.#streams.get(peer);
      if (!stream?.getTracks().includes(track)) continue;
      stream.removeTrack(track);
      changed.add(peer);
    }
    for (const { peer, track } of this.#slots.values()) {
      if (this.#streams.get(peer)?.getTracks().includes(track)) continue;
      this.#show(peer, track);
      changed.add(peer);
    }
    clearTimeout(before.#beginning);
    this.#host.flowing();
    for (const peer of changed) this.#tell(peer);
    const [was, is] = [before.#tracks, this.#tracks];
    const changes = {
      added: [...is.values()].filter(({ track }) => !was.has(track)),
      changed: [...is.values()].filter((track) => differs(was.get(track.track), track)),
      removed: [...was.values()].filter(({ track }) => !is.has(track)),
    };
    if (Object.values(changes).some((some) => some.length > 0)) this.#host.emit("tracks", [...is.values()], changes);
  }

  /**
   * Handles that a peer has left: its stream ends at once, whenever the server says that of its tracks, one by one.
   *
   * @param {string} peer
   */
  handleLeft(peer) {
    this.#gone.add(peer);
    for (const earlier of this.#gone) if (this.#gone.size > MOST_GONE) this.#gone.delete(earlier);
    this.#end(peer);
    if (this.#before) this.#before.#end(peer);
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
    // Those that the page knows of.
    const removed = [...(this.#before ?? this).#tracks.values()];
    if (this.#before) clearTimeout(this.#before.#beginning);
    this.#before = null;
    for (const map of [this.#tracks, this.#slots, this.#streams]) map.clear();
    this.#host.flowing();
    // Later, because a listener may change the connection that is about to replace this one.
    queueMicrotask(() => {
      for (const peer of peers) this.#host.emit("stream", peer, null);
      if (removed.length > 0) this.#host.emit("tracks", [], { added: [], changed: [], removed });
    });
  }

  /** @param {string} track its id */
  #slot(track) {
    return [...this.#slots.values()].find(({ id }) => id === track);
  }

  /** @param {string} peer that sends nothing any more */
  #end(peer) {
    for (const [mid, slot] of this.#slots) {
      if (slot.peer !== peer) continue;
      this.#slots.delete(mid);
      this.#streams.get(peer)?.removeTrack(slot.track);
    }
  }

  /**
   * @param {string} peer
   * @param {MediaStreamTrack} track
   */
  #show(peer, track) {
    const stream = this.#streams.get(peer) ?? new MediaStream();
    stream.addTrack(track);
    this.#streams.set(peer, stream);
  }

  /**
   * Gives a picture to a peer. If the last one that has come is of another, it stays black until the next one is there:
   * what begins to show a track, or one that is no longer black, begins with its last picture.
   *
   * @param {{ id: string, peer: string, track: MediaStreamTrack }} slot
   */
  #own(slot) {
    const { peer, track } = slot;
    const owner = this.#owners.get(track);
    if (owner !== undefined && owner !== peer) return void this.#blacken(slot);
    this.#owners.set(track, peer);
    if (this.#black.delete(track)) track.enabled = true;
  }

  /** @param {{ id: string, peer: string, track: MediaStreamTrack }} slot */
  async #blacken(slot) {
    const { peer, track } = slot;
    const holds = () => this.#connection.signalingState !== "closed" && [...this.#slots.values()].includes(slot);
    track.enabled = false;
    this.#black.add(track);
    // A picture may be there a little before it is shown: at the second one, the first is.
    let [last, pictures, pause, due] = [this.#last(track), 0, SHORTEST_LOOK, Infinity];
    while (pictures < 2 && performance.now() < due) {
      await passes(pause);
      if (!holds()) return;
      const now = this.#last(track);
      pause = pictures > 0 ? SHORTEST_LOOK : Math.min(2 * pause, LONGEST_LOOK);
      if (now === null || now === last) continue;
      if (pictures === 0) [pause, due] = [SHORTEST_LOOK, performance.now() + LONGEST_SECOND];
      [last, pictures] = [now, pictures + 1];
    }
    this.#owners.set(track, peer);
    this.#black.delete(track);
    track.enabled = true;
  }

  /**
   * Returns the RTP time of the last picture that a track has: one that is only decoded is not there yet.
   *
   * @param {MediaStreamTrack} track
   * @returns {number | null} null if none has come for 10 s
   */
  #last(track) {
    const receiver = this.#connection.getReceivers().find((one) => one.track === track);
    return receiver?.getSynchronizationSources()[0]?.rtpTimestamp ?? null;
  }

  /** @param {MediaStreamTrack} track */
  #carries(track) {
    return this.#carrying.has(track);
  }

  /**
   * Returns whether a track can be shown: sound once it comes, and a picture once it comes evenly, which is some time after
   * the first one where a connection has yet to learn what its path carries. Until then that of the connection before is
   * shown, while it moves.
   *
   * @param {{ id: string, track: MediaStreamTrack }} slot
   */
  async #isReady({ id, track }) {
    if ((await this.#come(track)) === 0) return false;
    const before = this.#before;
    const earlier = before && track.kind === "video" && before.#slot(id);
    if (!earlier) return true;
    const begun = this.#begun.get(track) ?? performance.now();
    this.#begun.set(track, begun);
    return (await before.#stands(earlier.track)) || performance.now() - begun >= SETTLES;
  }

  /**
   * Returns whether a picture has not moved since the looks before this one.
   *
   * @param {MediaStreamTrack} track
   */
  async #stands(track) {
    const [come, now] = [await this.#come(track), performance.now()];
    const known = this.#counts.get(track);
    if (known?.come === come) return now - known.since >= STANDS;
    this.#counts.set(track, { come, since: now });
    return false;
  }

  /**
   * Returns how many pictures of a track were decoded, or how many packets of its sound have come. Nothing tells of that.
   *
   * @param {MediaStreamTrack} track
   * @returns {Promise<number>}
   */
  async #come(track) {
    const receiver = this.#connection.getReceivers().find((one) => one.track === track);
    const stats = await receiver?.getStats().catch(() => null);
    const inbound = [...(stats?.values() ?? [])].find(({ type }) => type === "inbound-rtp");
    return (track.kind === "video" ? inbound?.framesDecoded : inbound?.packetsReceived) ?? 0;
  }

  /** @param {string} id of a track, by the server */
  #name(id) {
    return this.#names.get(id) ?? id;
  }

  /**
   * Returns a track with the id by which the page knows it, also from the connection before: of the same peer, the same
   * kind and the same source.
   *
   * @param {PublishedTrack} track
   * @returns {PublishedTrack}
   */
  #named(track) {
    const { track: id, peer, kind, source } = track;
    if (!this.#names.has(id) && this.#before) {
      const taken = new Set(this.#names.values());
      const same = (/** @type {PublishedTrack} */ one) =>
        !taken.has(one.track) && one.peer === peer && one.kind === kind && one.source === source;
      const known = [...this.#before.#tracks.values()].find(same);
      if (known) this.#names.set(id, known.track);
    }
    return this.#names.has(id) ? Object.freeze({ ...track, track: this.#name(id) }) : track;
  }

  /** @param {string} peer */
  #tell(peer) {
    const stream = this.#streams.get(peer);
    const flows = stream && stream.getTracks().length > 0;
    if (!flows) this.#streams.delete(peer);
    this.#host.emit("stream", peer, flows ? stream : null);
  }
}

/**
 * @param {PublishedTrack | undefined} was
 * @param {PublishedTrack} is
 */
function differs(was, is) {
  return was !== undefined && (was.muted !== is.muted || JSON.stringify(was.metadata) !== JSON.stringify(is.metadata));
}

/**
 * @param {number} time in ms
 * @returns {Promise<void>} resolved when it has passed
 */
function passes(time) {
  return new Promise((resolve) => { setTimeout(resolve, time); });
}

/** Time before media that has failed is begun again, in ms. */
const PAUSE = 2_000;
/** Times between two looks whether a picture has come, in ms: at first, and where none comes for long. */
const SHORTEST_LOOK = 20;
const LONGEST_LOOK = 320;
/** Time in ms after which a picture is shown although no second one has come. */
const LONGEST_SECOND = 250;
/** Time from the first picture of a track until it comes evenly, in ms. */
const SETTLES = 2_000;
/** Time without a further picture after which one stands still, in ms. */
const STANDS = 200;
/** Peers that have left and are remembered at most. */
const MOST_GONE = 256;
