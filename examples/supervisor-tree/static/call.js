// Pictures and sound of the call, by way of the server: ours, and a stream of each of the others.

import { Flow } from "./flow.js";
import { openLocalMedia } from "./media.js";
import { element, make, say } from "./view.js";

export class Call {
  /** Frames of the others that were shown. */
  frames = 0;
  /** What we send, once the user has allowed it or there is a drawn picture in its place. @type {Promise<MediaStream>} */
  stream;
  #name;
  #stage = element("stage");
  /** The others that are shown, or were a moment ago. @type {Map<string, Other>} */
  #others = new Map();
  /** Peers that send pictures. @type {Set<string>} */
  #sending = new Set();

  /** @param {string} name */
  constructor(name) {
    this.#name = name;
    this.stream = this.#open();
    // The page is loaded anew: media must be there from the beginning.
    element("camera").addEventListener("click", ({ currentTarget }) => (location.search = isPressed(currentTarget) ? "" : "?camera"));
    element("sound").addEventListener("click", ({ currentTarget }) => this.#toggleSound(currentTarget));
  }

  /**
   * Shows what a peer sends. Without a stream its tile stays for a while: after a fault it has another one soon.
   *
   * @param {string} peer
   * @param {MediaStream | null} stream
   */
  show(peer, stream) {
    const known = this.#others.get(peer);
    if (!stream) {
      if (known) Object.assign(known, { stream, lost: performance.now() });
      return;
    }
    const other = known ?? this.#addTile(peer);
    Object.assign(other, { stream, lost: Infinity });
    if (other.video.srcObject === stream) return;
    other.video.srcObject = stream;
    other.video.play().catch(() => { /* it plays as soon as the browser lets it */ });
  }

  /** @param {readonly import("/callboard.js").PublishedTrack[]} tracks all that the others send, also what is not shown */
  send(tracks) {
    this.#sending = new Set(tracks.filter(({ kind }) => kind === "video").map(({ peer }) => peer));
  }

  /** Returns the peers that send pictures. */
  senders() {
    return [...this.#sending];
  }

  /**
   * Handles that a member has left: what it sent is no bot's, although the word of that comes later.
   *
   * @param {string} peer
   */
  left(peer) {
    this.#sending.delete(peer);
    this.forget(peer);
  }

  /** @param {string} peer that has left */
  forget(peer) {
    this.#others.get(peer)?.tile.remove();
    this.#others.delete(peer);
  }

  /** Forgets all the others, with our place in the room. */
  clear() {
    for (const peer of [...this.#others.keys()]) this.forget(peer);
    this.#sending.clear();
  }

  /**
   * Returns whether we see a peer; `waiting` if it sends a picture that has no place here yet.
   *
   * @param {string} peer
   * @returns {"connected" | "waiting" | "none"}
   */
  stateOf(peer) {
    const other = this.#others.get(peer);
    if (other && isSeen(other)) return "connected";
    return this.#sending.has(peer) ? "waiting" : "none";
  }

  /** @param {string} peer */
  moves(peer) {
    return this.#others.get(peer)?.flow.alive ?? false;
  }

  /** The number of the others that we see. */
  get seen() {
    return [...this.#others.values()].filter(isSeen).length;
  }

  /**
   * Returns the flows that must all run for media to flow.
   *
   * @param {(peer: string) => boolean} counts
   */
  flows(counts) {
    return [...this.#others].filter(([peer]) => counts(peer)).map(([, { flow }]) => flow);
  }

  /**
   * Writes the names below the pictures, and removes those that have not come back.
   *
   * @param {(peer: string) => string} nameOf
   */
  label(nameOf) {
    const now = performance.now();
    for (const [peer, { tile, lost }] of this.#others) {
      if (now - lost > KEPT) this.forget(peer);
      else say(tile.lastElementChild, nameOf(peer));
    }
  }

  async #open() {
    say(element("media-note"), CAMERA ? "Opening camera and microphone…" : "");
    const media = await openLocalMedia({ synthetic: !CAMERA, label: this.#name });
    element("own-video").srcObject = media.stream;
    const used = media.kind !== "synthetic";
    element("camera").setAttribute("aria-pressed", String(used));
    say(element("camera"), used ? "Stop my camera" : "Use my camera");
    say(element("media-note"), media.sentence);
    return media.stream;
  }

  #toggleSound(button) {
    const on = !isPressed(button);
    button.setAttribute("aria-pressed", String(on));
    for (const { video } of this.#others.values()) video.muted = !on;
  }

  #addTile(peer) {
    const video = make("video", { autoplay: true, playsInline: true, muted: !isPressed(element("sound")), dataset: { peer } });
    const tile = make("figure", { className: "tile", dataset: { peer } }, video, make("figcaption"));
    /** @type {Other} */
    const other = { tile, video, flow: new Flow(PAUSE), stream: null, lost: Infinity };
    const shown = () => {
      this.frames += 1;
      other.flow.mark();
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
    this.#stage.append(tile);
    this.#others.set(peer, other);
    return other;
  }
}

/**
 * @typedef {object} Other
 * @property {any} tile
 * @property {any} video
 * @property {Flow} flow of its frames
 * @property {MediaStream | null} stream
 * @property {number} lost when it was lost, by `performance.now()`
 */

/** @param {Other} other */
function isSeen({ stream }) {
  return stream !== null && stream.getVideoTracks().length > 0;
}

/** @param {Element} button */
function isPressed(button) {
  return button.getAttribute("aria-pressed") === "true";
}

const CAMERA = new URLSearchParams(location.search).has("camera");
/** Time in ms for which the place of a picture that is lost is kept. */
const KEPT = 10_000;
/** Time in ms without a frame that counts as a pause: more than two of 15 in a second are missing. */
const PAUSE = 150;
