// Pictures and sound: a mesh between the browsers, negotiated through the room.

import { Flow } from "./flow.js";
import { iceServers } from "./ice_servers.js";
import { openLocalMedia } from "./media.js";
import { Mesh } from "./mesh.js";
import { element, make, say } from "./view.js";

export class Call {
  /** Frames of the others that were shown. */
  frames = 0;
  #name;
  #send;
  #stage = element("stage");
  /** @type {any} */
  #mesh = null;
  /** Steps that wait while the call begins: the others offer at once. @type {(() => void)[] | null} */
  #early = null;
  #media;
  #peerId = "";
  /** @type {Map<string, { tile: any, video: any, flow: Flow }>} */
  #others = new Map();

  /**
   * @param {string} name
   * @param {(event: string, data: any, to: string[]) => void} send through the room
   */
  constructor(name, send) {
    this.#name = name;
    this.#send = send;
    this.#media = this.#open();
    // The page is loaded anew: media must be there from the beginning.
    element("camera").addEventListener("click", ({ currentTarget }) => (location.search = isPressed(currentTarget) ? "" : "?camera"));
    element("sound").addEventListener("click", ({ currentTarget }) => this.#toggleSound(currentTarget));
  }

  /**
   * Begins a call under a new peer id: members that were here before and have room offer to us. The others are not
   * waited for, or there would be no room left for those who come after us.
   *
   * @param {string} own
   */
  async begin(own) {
    this.#peerId = own;
    this.#early = [];
    const { stream } = await this.#media;
    const servers = await iceServers();
    if (this.#peerId !== own) return;
    this.#end();
    const send = (event, data, to) => { try { this.#send(event, data, to); } catch { /* lost with the connection */ } };
    const mesh = new Mesh({ own, local: stream, send, iceServers: servers });
    mesh.addEventListener("track", ({ detail }) => this.#play(detail.peer, detail.stream));
    this.#mesh = mesh;
    const early = this.#early ?? [];
    this.#early = null;
    for (const step of early) step();
  }

  welcome(peer) {
    this.#onceBegun(() => { if (this.#mesh?.peers.length < MOST) this.#mesh.welcome(peer); });
  }

  forget(peer) {
    this.#onceBegun(() => this.#drop(peer));
  }

  settle(present) {
    this.#onceBegun(() => {
      // Connections that show a peer are kept; where there is none, one of the two sides offers.
      const kept = (this.#mesh?.peers ?? []).map(({ id }) => id).filter((peer) => present.includes(peer));
      const more = present.filter((peer) => !kept.includes(peer) && this.#peerId > peer).slice(0, Math.max(0, MOST - kept.length));
      this.#mesh?.settle([...kept, ...more, this.#peerId]);
      for (const peer of this.#others.keys()) if (!present.includes(peer)) this.#drop(peer);
    });
  }

  handle(message) {
    if (["offer", "answer", "candidate"].includes(message.event)) this.#onceBegun(() => this.#mesh?.handle(message));
  }

  /** @param {string} peer */
  stateOf(peer) {
    return this.#mesh?.peers.find(({ id }) => id === peer)?.connection ?? "new";
  }

  /** The number of the others that we see, or are about to see. */
  get seen() {
    return this.#mesh?.peers.filter(({ connection }) => SEEN.has(connection)).length ?? 0;
  }

  /**
   * Returns the flows that must all run for media to flow.
   *
   * @param {(peer: string) => boolean} counts
   */
  flows(counts) {
    return [...this.#others].filter(([peer]) => counts(peer)).map(([, { flow }]) => flow);
  }

  /** @param {(peer: string) => string} nameOf */
  label(nameOf) {
    for (const [peer, { tile }] of this.#others) say(tile.lastElementChild, nameOf(peer));
  }

  /** Runs a step now, or in its turn when the call begins. */
  #onceBegun(step) {
    if (this.#early === null) step();
    else if (this.#early.length < EARLY) this.#early.push(step);
  }

  #drop(peer) {
    this.#mesh?.forget(peer);
    this.#others.get(peer)?.tile.remove();
    this.#others.delete(peer);
  }

  #end() {
    this.#mesh?.close();
    for (const peer of [...this.#others.keys()]) this.#drop(peer);
  }

  async #open() {
    say(element("media-note"), CAMERA ? "Opening camera and microphone…" : "");
    const media = await openLocalMedia({ synthetic: !CAMERA, label: this.#name });
    element("own-video").srcObject = media.stream;
    element("camera").setAttribute("aria-pressed", String(media.kind !== "synthetic"));
    say(element("media-note"), media.sentence);
    return media;
  }

  #toggleSound(button) {
    const on = !isPressed(button);
    button.setAttribute("aria-pressed", String(on));
    for (const { video } of this.#others.values()) video.muted = !on;
  }

  #play(peer, stream) {
    const other = this.#others.get(peer) ?? this.#addTile(peer);
    if (other.video.srcObject === stream) return;
    other.video.srcObject = stream;
    other.video.play().catch(() => { /* it plays as soon as the browser lets it */ });
  }

  #addTile(peer) {
    const video = make("video", { autoplay: true, playsInline: true, muted: !isPressed(element("sound")), dataset: { peer } });
    const tile = make("figure", { className: "tile", dataset: { peer } }, video, make("figcaption"));
    const other = { tile, video, flow: new Flow() };
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

/** @param {Element} button */
function isPressed(button) {
  return button.getAttribute("aria-pressed") === "true";
}

const CAMERA = new URLSearchParams(location.search).has("camera");
/** States of connections that bring pictures, or will. */
const SEEN = new Set(["connecting", "connected", "disconnected"]);
/** Most peers to see: a mesh costs each of us one connection per other. In a larger crowd the rest is only heard of. */
const MOST = 7;
/** Most steps that wait for a call to begin: the browser may ask for the camera and get no answer. */
const EARLY = 1_000;
