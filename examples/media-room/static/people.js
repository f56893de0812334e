// Who is in the call, and what each sends: a tile for each person, and one for each screen that is shared.

export class People {
  #client;
  /** All that the others publish. @type {readonly import("/callboard.js").PublishedTrack[]} */
  #tracks = [];

  /**
   * @param {import("/callboard.js").Client} client
   * @param {() => void} changed
   */
  constructor(client, changed) {
    this.#client = client;
    client.on("tracks", (tracks) => { this.#tracks = tracks; changed(); });
    // The word that its tracks have ended comes later: they are no bot's.
    client.on("left", (id) => { this.#tracks = this.#tracks.filter(({ peer }) => peer !== id); changed(); });
  }

  /**
   * Returns the tiles: screens first.
   *
   * @param {{ flow(track?: string): import("/callboard.js").Flow | null }} details
   * @param {string | null} host
   */
  tiles(details, host) {
    const screens = this.#tracks.filter(isScreen).map((track) => this.#screen(track, details));
    // Bots publish, and are no members.
    const ids = new Set([...this.#client.peers.keys(), ...this.#tracks.map(({ peer }) => peer)]);
    return [...screens, ...[...ids].map((id) => this.#person(id, details, id === host))];
  }

  #screen({ peer: id, track, muted }, details) {
    const owner = this.#nameOf(id);
    const state = muted ? "paused" : stateOf(details.flow(track));
    return { key: `${id} screen`, id, name: `Screen of ${owner}`, owner, state, picture: track, tracks: [track], isScreen: true, isMember: false, isHost: false };
  }

  #person(id, details, isHost) {
    const own = this.#tracks.filter((track) => track.peer === id && !isScreen(track));
    const of = (kind) => own.find((track) => track.kind === kind);
    const [sound, picture] = [of("audio"), of("video")];
    const off = [sound?.muted && "muted", picture?.muted && "camera off"].filter(Boolean).join(", ");
    const state = own.length === 0 ? "connecting…" : off || stateOf(details.flow(picture?.track));
    return {
      key: id, id, name: this.#nameOf(id), state, picture: picture?.track, isScreen: false, isMember: this.#client.peers.has(id), isHost,
      tracks: [picture, sound].filter(Boolean).map(({ track }) => track),
    };
  }

  /** Returns the name that a peer gave, and the start of its id: names may be shared, ids are not. */
  #nameOf(id) {
    if (!this.#client.peers.has(id)) return id;
    const { name } = this.#client.peers.get(id);
    return typeof name === "string" && name ? `${name} (${id.slice(0, 4)})` : `Guest ${id.slice(0, 4)}`;
  }
}

/** Returns what is said of a picture that does not flow. */
function stateOf(flow) {
  return flow?.state === "paused" ? "paused" : "";
}

function isScreen({ kind, source }) {
  return kind === "video" && source === "screen";
}
