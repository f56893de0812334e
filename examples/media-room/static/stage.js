// The tiles of the others. In the speaker view one is large: the one that was pinned, else a screen, else who speaks.

import { element, press } from "./view.js";

export class Stage {
  /** @type {"grid" | "speaker"} */
  view = "grid";
  /** Key of the tile that is large. @type {string | null} */
  large = null;
  #client;
  #host;
  /** By their keys. @type {Map<string, { tile: HTMLElement, video: HTMLVideoElement, unwatch: () => void }>} */
  #shown = new Map();
  #pinned = null;
  #speaker = null;
  #wished = "";

  /**
   * @param {import("/callboard.js").Client} client
   * @param {{ changed: () => void, remove: (peer: string) => void }} host
   */
  constructor(client, host) {
    this.#client = client;
    this.#host = host;
    client.on("speaker", (peer, levels) => {
      this.#speaker = peer ?? this.#speaker;
      for (const [key, { tile }] of this.#shown) tile.classList.toggle("speaking", Object.hasOwn(levels, key));
      host.changed();
    });
  }

  /** The element of a tile's picture. */
  video(key) {
    return this.#shown.get(key)?.video;
  }

  toggleView() {
    this.view = this.view === "grid" ? "speaker" : "grid";
    this.#pinned = null;
  }

  /** Shows these tiles. Those that stay are not touched, so their pictures do not flicker. A host may remove others. */
  show(tiles, areHost) {
    const keys = new Set(tiles.map(({ key }) => key));
    for (const [key, { tile, unwatch }] of this.#shown) {
      if (keys.has(key)) continue;
      unwatch();
      tile.remove();
      this.#shown.delete(key);
    }
    if (!keys.has(this.#pinned)) this.#pinned = null;
    this.large = this.view === "speaker" ? this.#choose(tiles) : null;
    element("grid").classList.toggle("speaker", this.large !== null);
    element("grid").classList.toggle("many", tiles.length >= MANY);
    for (const tile of tiles) this.#update(tile, areHost);
    this.#preferLarge(tiles);
  }

  soundOn() {
    for (const { video } of this.#shown.values()) {
      video.muted = false;
      video.play().catch(() => {});
    }
    element("sound").hidden = true;
  }

  #choose(tiles) {
    const choice = [this.#pinned, tiles.find(({ isScreen }) => isScreen)?.key, this.#speaker, tiles[0]?.key];
    return choice.find((key) => tiles.some((tile) => tile.key === key)) ?? null;
  }

  #update({ key, id, name, state, picture, tracks, isMember, isScreen, isHost }, areHost) {
    const { tile, video } = this.#shown.get(key) ?? this.#add(key, id, isScreen);
    video.dataset.track = picture ?? "";
    const [who, how] = tile.querySelectorAll("figcaption span");
    who.textContent = isHost ? `${name}, host` : name;
    how.textContent = state;
    tile.classList.toggle("large", key === this.large);
    tile.querySelector(".remove").hidden = !areHost || !isMember;
    tile.querySelector(".remove").setAttribute("aria-label", `Remove ${name}`);
    const pin = tile.querySelector(".pin");
    press(pin, key === this.#pinned, key === this.#pinned ? "Unpin" : "Pin");
    pin.setAttribute("aria-label", `${pin.textContent} ${name}`);
    this.#shown.set(key, { tile, video, unwatch: this.#client.watch(video, tracks) });
  }

  /** The large picture comes before the others where bandwidth is scarce. */
  #preferLarge(tiles) {
    const track = tiles.find(({ key }) => key === this.large)?.picture;
    const wishes = track ? { tracks: { [track]: { priority: 1 } } } : {};
    if (JSON.stringify(wishes) === this.#wished) return;
    this.#wished = JSON.stringify(wishes);
    this.#client.wish(wishes);
  }

  #pin(key) {
    this.#pinned = this.#pinned === key ? null : key;
    if (this.#pinned) this.view = "speaker";
    this.#host.changed();
  }

  #add(key, id, isScreen) {
    const video = Object.assign(document.createElement("video"), { autoplay: true, playsInline: true });
    video.dataset[isScreen ? "screen" : "peer"] = id;
    video.addEventListener("loadedmetadata", () => play(video));
    video.addEventListener("click", () => this.#pin(key));
    const tile = Object.assign(document.createElement("figure"), { className: isScreen ? "tile screen" : "tile" });
    const caption = document.createElement("figcaption");
    caption.append(...[0, 1, 2].map(() => document.createElement("span")));
    const actions = Object.assign(document.createElement("div"), { className: "actions" });
    actions.append(button("pin", "Pin", () => this.#pin(key)), button("remove", "Remove", () => this.#host.remove(id)));
    tile.append(video, caption, actions);
    element("grid").append(tile);
    return { tile, video };
  }
}

function button(className, textContent, does) {
  const made = Object.assign(document.createElement("button"), { type: "button", className, textContent });
  made.addEventListener("click", does);
  return made;
}

function play(video) {
  video.play().catch((error) => {
    if (error.name !== "NotAllowedError") return;
    // The browser requires a click before it plays sound: pictures first, and a button for the rest.
    video.muted = true;
    element("sound").hidden = false;
    video.play().catch(() => {});
  });
}

/** Number of tiles from which on they are smaller. */
const MANY = 8;
