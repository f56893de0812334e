// Members of the room, as the server reports them.

import { object, text } from "./frames.js";

/** @import { PeerMetadata } from "./types.js" */

/** Members of the room: this peer and the others. Reports who comes and goes. */
export class Members {
  /** Id of this peer; empty before it has joined. */
  self = "";
  /** @type {Map<string, PeerMetadata>} */
  others = new Map();
  #emit;

  /** @param {(event: string, ...told: any[]) => void} emit */
  constructor(emit) {
    this.#emit = emit;
  }

  /**
   * Returns the members that the server's answer to joining names.
   *
   * @param {{ peers?: string[], metadata?: Record<string, PeerMetadata> }} data
   * @returns {Map<string, PeerMetadata>}
   */
  static in({ peers, metadata }) {
    return new Map((Array.isArray(peers) ? peers : []).map((peer) => [peer, object(metadata?.[peer])]));
  }

  /** @param {{ peer_id: string, metadata?: unknown }} data */
  joined({ peer_id: peer, metadata }) {
    this.are(new Map(this.others).set(text(peer), object(metadata)));
  }

  /** @param {{ peer_id: string }} data */
  left({ peer_id: peer }) {
    this.are(new Map([...this.others].filter(([present]) => present !== text(peer))));
  }

  /** @param {string[]} peers members that a restarted room has kept */
  remain(peers) {
    this.are(new Map(peers.map(text).map((peer) => [peer, this.others.get(peer) ?? object()])));
  }

  /** @param {{ peers: string[], metadata?: Record<string, PeerMetadata> }} data members, after some may have been missed */
  listed({ peers, metadata }) {
    this.are(new Map(peers.map(text).map((peer) => [peer, object(metadata?.[peer])])));
  }

  /** @param {Map<string, PeerMetadata>} present */
  are(present) {
    const others = new Map([...present].filter(([peer]) => peer !== this.self));
    const gone = [...this.others.keys()].filter((peer) => !others.has(peer));
    const come = [...others].filter(([peer]) => !this.others.has(peer));
    for (const peer of gone) this.others.delete(peer);
    for (const [peer, metadata] of come) this.others.set(peer, metadata);
    for (const peer of gone) this.#emit("left", peer);
    for (const [peer, metadata] of come) this.#emit("joined", peer, metadata);
  }
}
