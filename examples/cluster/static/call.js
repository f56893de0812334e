// The call of a room: sound and pictures of those whose pages were opened with ?call, through the node that runs the
// room. When the room goes to another node, the client opens a connection to that one before it closes this.

import { iceServers } from "./ice_servers.js";
import { openLocalMedia } from "./media.js";
import { element, make, say } from "./view.js";

export class Call {
  #client;
  #nameOf;
  #peer;
  /** All that the others publish. @type {readonly import("/callboard.js").PublishedTrack[]} */
  #tracks = [];
  /** By peer. @type {Map<string, { tile: any, video: any, caption: any, unwatch: () => void }>} */
  #shown = new Map();

  /**
   * Publishes camera and microphone, or a drawn picture and silence, and shows the others.
   *
   * @param {import("/callboard.js").Client} client
   * @param {{ label: string, synthetic: boolean, nameOf: (peer: string) => string }} options
   */
  static async start(client, { label, synthetic, nameOf }) {
    const { stream, sentence } = await openLocalMedia({ label, synthetic });
    const call = new Call(client, nameOf, await iceServers());
    stream.getTracks().forEach((track) => client.publish(track));
    const own = make("video", { autoplay: true, playsInline: true, muted: true, srcObject: stream });
    element("tiles").append(make("figure", {}, own, make("figcaption", {}, "You")));
    say(element("call-note"), sentence);
    return call;
  }

  constructor(client, nameOf, servers) {
    this.#client = client;
    this.#nameOf = nameOf;
    client.on("tracks", (tracks) => { this.#tracks = tracks; this.show(); });
    client.on("left", (id) => { this.#tracks = this.#tracks.filter(({ peer }) => peer !== id); this.show(); });
    this.#peer = client.openPeerConnection({ receive: { audio: 2, video: 2 }, iceServers: servers });
  }

  /** Shows a tile for each who publishes. Those that stay are not touched, so their pictures do not flicker. */
  show() {
    const peers = new Map();
    for (const { peer, track } of this.#tracks) peers.set(peer, [...peers.get(peer) ?? [], track]);
    for (const [peer, { tile, unwatch }] of this.#shown) {
      if (peers.has(peer)) continue;
      unwatch();
      tile.remove();
      this.#shown.delete(peer);
    }
    for (const [peer, tracks] of peers) {
      const shown = this.#shown.get(peer) ?? this.#add(peer);
      say(shown.caption, this.#nameOf(peer));
      shown.unwatch = this.#client.watch(shown.video, tracks);
    }
  }

  /** What is shown: the state of the connection, and the others' pictures with their widths and times. */
  get facts() {
    const pictures = [...this.#shown].map(([id, { video }]) => Object.freeze({ id, width: video.videoWidth, time: video.currentTime }));
    return Object.freeze({ state: this.#peer.state, pictures: Object.freeze(pictures) });
  }

  #add(peer) {
    const video = make("video", { autoplay: true, playsInline: true, dataset: { peer } });
    video.addEventListener("loadedmetadata", () => play(video));
    const caption = make("figcaption");
    const tile = make("figure", {}, video, caption);
    element("tiles").append(tile);
    const shown = { tile, video, caption, unwatch: () => {} };
    this.#shown.set(peer, shown);
    return shown;
  }
}

function play(video) {
  video.play().catch((error) => {
    if (error.name !== "NotAllowedError") return;
    // The browser requires a click before it plays sound: pictures first.
    video.muted = true;
    say(element("call-note"), "Click the picture of another to hear it.");
    video.addEventListener("click", () => { video.muted = false; say(element("call-note"), ""); }, { once: true });
    video.play().catch(() => {});
  });
}
