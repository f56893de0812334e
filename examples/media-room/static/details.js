// Layers and bitrates of the others' pictures: which of them flow, shown on demand.

export class Details {
  /** What flows, by track. */
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
    client.on("flow", (flow) => this.#flows.set(flow.track, flow));
    client.on("tracks", (_, { removed }) => { for (const { track } of removed) this.#flows.delete(track); });
  }

  /** What flows of this track. */
  flow(track) {
    return this.#flows.get(track) ?? null;
  }

  toggle() {
    clearInterval(this.#timer);
    this.#timer = this.#timer ? undefined : setInterval(() => this.#show(), 1_000);
    this.#show();
    return Boolean(this.#timer);
  }

  async #show() {
    const stats = await this.#connection()?.getStats().catch(() => undefined);
    const received = [...(stats?.values() ?? [])].filter(({ type, kind }) => type === "inbound-rtp" && kind === "video");
    for (const video of document.querySelectorAll(".tile video[data-track]")) {
      const id = video.srcObject?.getVideoTracks()[0]?.id;
      const { state, layer } = this.flow(video.dataset.track) ?? {};
      const words = [state, layer, video.videoHeight > 0 && `${video.videoHeight}p`, this.#bitrate(id, received)];
      video.parentElement.querySelectorAll("figcaption span")[2].textContent = this.#timer ? words.filter(Boolean).join(" · ") : "";
    }
  }

  #bitrate(id, received) {
    const { bytesReceived = 0, timestamp = 0 } = received.find(({ trackIdentifier }) => trackIdentifier === id) ?? {};
    const { bytes = 0, at = 0 } = this.#counted.get(id) ?? {};
    this.#counted.set(id, { bytes: bytesReceived, at: timestamp });
    return at > 0 && timestamp > at && `${Math.round(((bytesReceived - bytes) * 8) / (timestamp - at))} kbit/s`;
  }
}
