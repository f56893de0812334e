// Layers of the others' pictures: we wish each as high as it is shown, and show on demand which one flows.

/**
 * Wishes each picture as high as its tile, and again when tiles change.
 *
 * @param {import("/callboard.js").Client} client
 * @returns {{ update(): void }} `update`: for when tiles have come or gone
 */
export function wishBySize(client) {
  /** Track of each peer's picture. @type {Map<string, string>} */
  const tracks = new Map();
  let before = "";
  let due;
  const wish = () => {
    const wishes = {};
    for (const video of document.querySelectorAll("video[data-peer]")) {
      const track = tracks.get(video.dataset.peer);
      if (track) wishes[track] = { height: steps(video.clientHeight * devicePixelRatio) };
    }
    const text = JSON.stringify(wishes);
    if (text === before) return;
    before = text;
    client.wish({ tracks: wishes });
  };
  const update = () => {
    clearTimeout(due);
    due = setTimeout(wish, 200);
  };
  client.on("tracks", (all) => {
    tracks.clear();
    for (const { track, peer, kind } of all) if (kind === "video") tracks.set(peer, track);
    update();
  });
  new ResizeObserver(update).observe(document.getElementById("grid"));
  return { update };
}

/** Rounds a height up, so that not every pixel is another wish. */
function steps(height) {
  return Math.max(90, Math.ceil(height / 90) * 90);
}

/** Shows the layer and the bitrate of each picture while it is switched on. */
export class Details {
  /** What flows, by peer. */
  #flows = new Map();
  /** Bytes of each track that were received, and when. */
  #counted = new Map();
  #timer;
  #connection;

  /**
   * @param {import("/callboard.js").Client} client
   * @param {() => RTCPeerConnection | undefined} connection
   */
  constructor(client, connection) {
    this.#connection = connection;
    client.on("flow", (flow) => this.#flows.set(flow.peer, flow));
  }

  /** What flows of this peer's picture. */
  flow(peer) {
    return this.#flows.get(peer) ?? null;
  }

  toggle() {
    if (this.#timer) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      for (const video of document.querySelectorAll("video[data-peer]")) detail(video).textContent = "";
    } else {
      this.#timer = setInterval(() => this.#show(), 1_000);
      this.#show();
    }
    return Boolean(this.#timer);
  }

  async #show() {
    const stats = await this.#connection()?.getStats().catch(() => undefined);
    const received = [...(stats?.values() ?? [])].filter(({ type, kind }) => type === "inbound-rtp" && kind === "video");
    for (const video of document.querySelectorAll("video[data-peer]")) {
      const id = video.srcObject?.getVideoTracks()[0]?.id;
      const { state, layer } = this.flow(video.dataset.peer) ?? {};
      const words = [state, layer, video.videoHeight > 0 && `${video.videoHeight}p`, this.#bitrate(id, received)];
      if (this.#timer) detail(video).textContent = words.filter(Boolean).join(" · ");
    }
  }

  #bitrate(id, received) {
    const { bytesReceived = 0, timestamp = 0 } = received.find(({ trackIdentifier }) => trackIdentifier === id) ?? {};
    const { bytes = 0, at = 0 } = this.#counted.get(id) ?? {};
    this.#counted.set(id, { bytes: bytesReceived, at: timestamp });
    return at > 0 && timestamp > at && `${Math.round(((bytesReceived - bytes) * 8) / (timestamp - at))} kbit/s`;
  }
}

function detail(video) {
  return video.nextSibling.children[2];
}
