// Elements of the page that show tracks of the others, and what is wished for that.

/** @import { Wish, Wishes } from "./types.js" */

/** Elements that show tracks of the others, over each peer connection that replaces another. */
export class Watches {
  /** @type {Map<HTMLMediaElement, Watch>} */
  #all = new Map();
  /** Whether the page has watched anything: then the server may know of wishes. */
  #used = false;
  /** @type {ResizeObserver | undefined} */
  #sizes;
  /** @type {IntersectionObserver | undefined} */
  #sights;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #due;
  /** What was said last. */
  #said = "";
  #host;

  /**
   * @param {{
   *   received: (track: string) => { kind: string, received: MediaStreamTrack | null } | null,
   *   wish: () => void,
   * }} host `received`: what comes here of a track that another publishes, null if no one publishes it
   */
  constructor(host) {
    this.#host = host;
  }

  /**
   * @param {HTMLMediaElement} element
   * @param {string[]} tracks
   * @returns {() => void} ends it, unless it was called for the element again
   */
  watch(element, tracks) {
    const watch = this.#all.get(element) ?? this.#begin(element);
    if (watch.tracks.join() !== tracks.join()) {
      watch.tracks = [...tracks];
      watch.forget();
      this.settle();
    }
    const turn = (watch.turn = {});
    return () => {
      if (this.#all.get(element) === watch && watch.turn === turn) this.#end(element, watch);
    };
  }

  /**
   * Shows what flows now, and wishes for what is shown.
   *
   * @param {string[]} removed what the others publish no more
   */
  settle(removed = []) {
    for (const watch of this.#all.values()) watch.show(this.#host.received, removed);
    this.#changed();
  }

  /**
   * Returns all wishes, which are said then: those of the page, and those of the elements for what the page has not wished itself.
   *
   * @param {Wishes | null} page
   * @returns {Wishes | null} null if nothing was ever wished
   */
  wishes(page) {
    if (!this.#used) return page;
    const shown = this.#shown();
    this.#said = JSON.stringify(shown);
    const tracks = { ...page?.tracks };
    for (const [track, wish] of Object.entries(shown)) {
      if (track in tracks || Object.keys(tracks).length < MOST_WISHES) tracks[track] = { ...wish, ...tracks[track] };
    }
    return { ...page, tracks };
  }

  /** Ends all, with the client. */
  clear() {
    for (const [element, watch] of [...this.#all]) this.#end(element, watch);
    clearTimeout(this.#due);
  }

  /**
   * @param {HTMLMediaElement} element
   * @returns {Watch} of nothing yet
   */
  #begin(element) {
    const watch = new Watch(element);
    this.#all.set(element, watch);
    this.#used = true;
    this.#sizes ??= new ResizeObserver(() => this.#changed());
    this.#sights ??= new IntersectionObserver((seen) => {
      for (const { target, isIntersecting } of seen) {
        this.#all.get(/** @type {HTMLMediaElement} */ (target))?.see(isIntersecting, () => this.#changed());
      }
      this.#changed();
    });
    this.#sizes.observe(element);
    this.#sights.observe(element);
    const { signal } = watch.listening;
    // Of one function for all watches the first that ends would take the listener with it.
    element.ownerDocument.addEventListener("visibilitychange", () => this.#changed(), { signal });
    for (const event of CHANGES) element.addEventListener(event, this.#changed, { signal });
    return watch;
  }

  /**
   * @param {HTMLMediaElement} element
   * @param {Watch} watch
   */
  #end(element, watch) {
    this.#all.delete(element);
    watch.end();
    this.#sizes?.unobserve(element);
    this.#sights?.unobserve(element);
    this.#changed();
  }

  /** Says what is wished now, if that has changed, a moment later: much changes at once. */
  #changed = () => {
    this.#due ??= setTimeout(() => {
      for (const [element, watch] of [...this.#all]) if (watch.isOver(this.#host.received)) this.#end(element, watch);
      this.#due = undefined;
      if (JSON.stringify(this.#shown()) !== this.#said) this.#host.wish();
    }, GATHERS);
  };

  /**
   * Returns what the elements show of each picture: of one in several elements, enough for all of them.
   *
   * @returns {Record<string, Wish>}
   */
  #shown() {
    /** @type {Record<string, Wish>} */
    const shown = {};
    for (const watch of this.#all.values()) {
      const wish = watch.wish();
      for (const track of watch.tracks) {
        if (this.#host.received(track)?.kind !== "video") continue;
        const { height = 0, pause = true } = shown[track] ?? {};
        shown[track] = { height: Math.max(height, wish.height), pause: pause && wish.pause };
      }
    }
    return shown;
  }
}

/** Element that shows tracks. */
class Watch {
  /** Their ids. @type {string[]} */
  tracks = [];
  /** Who has asked for them last. */
  turn = {};
  /** Ends listening to the element and its page. */
  listening = new AbortController();
  /** Those of its tracks that were removed. @type {Set<string>} */
  #removed = new Set();
  #element;
  #stream = new MediaStream();
  /** Whether the element can be seen, as far as is known. */
  #seen = true;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #leaving;

  /** @param {HTMLMediaElement} element */
  constructor(element) {
    this.#element = element;
  }

  /**
   * @param {(track: string) => { received: MediaStreamTrack | null } | null} received
   * @param {string[]} removed
   */
  show(received, removed) {
    for (const track of removed) if (this.tracks.includes(track)) this.#removed.add(track);
    const now = this.tracks.flatMap((track) => received(track)?.received ?? []);
    for (const track of this.#stream.getTracks()) if (!now.includes(track)) this.#stream.removeTrack(track);
    for (const track of now) this.#stream.addTrack(track);
    const shown = now.length > 0 ? this.#stream : null;
    if (this.#element.srcObject !== shown) this.#element.srcObject = shown;
  }

  /** Forgets which tracks were removed, because it shows others. */
  forget() {
    this.#removed.clear();
  }

  /**
   * Returns whether no one can see it again: its element has left the page, and its tracks were removed. That they are
   * only unknown is no reason: so they are until a connection that replaces another is told of them.
   *
   * @param {(track: string) => unknown} received
   * @returns {boolean}
   */
  isOver(received) {
    return !this.#element.isConnected && this.tracks.every((track) => this.#removed.has(track) && !received(track));
  }

  /**
   * Notes whether the element can be seen: that it cannot only after a while, because a page that is scrolled shows it
   * again soon.
   *
   * @param {boolean} seen
   * @param {() => void} left
   */
  see(seen, left) {
    clearTimeout(this.#leaving);
    if (seen) this.#seen = true;
    else this.#leaving = setTimeout(() => { this.#seen = false; left(); }, LINGERS);
  }

  /**
   * Returns what is wished of its picture.
   *
   * @returns {{ height: number, pause: boolean }}
   */
  wish() {
    const element = this.#element;
    // In a window of its own it is seen wherever the page is.
    const root = /** @type {Document | ShadowRoot} */ (element.getRootNode());
    const apart = root.pictureInPictureElement === element;
    const { clientWidth: width, clientHeight: height } = element;
    const { videoWidth = 0, videoHeight = 0 } = /** @type {HTMLVideoElement} */ (element);
    // A picture that is shown whole may be lower than its element.
    const whole = videoWidth > 0 && getComputedStyle(element).objectFit === "contain";
    const shown = whole ? Math.min(height, (width * videoHeight) / videoWidth) : height;
    const pause = !apart && (!this.#seen || element.ownerDocument.visibilityState === "hidden" || height === 0);
    // In steps, so that not every pixel is another wish.
    return { height: STEP * Math.max(1, Math.ceil((shown * devicePixelRatio) / STEP)), pause };
  }

  end() {
    clearTimeout(this.#leaving);
    this.listening.abort();
    if (this.#element.srcObject === this.#stream) this.#element.srcObject = null;
  }
}

/** Events of an element after which it may show its picture in another size, or be seen where it was not. */
const CHANGES = ["resize", "enterpictureinpicture", "leavepictureinpicture"];
/** Time in which changes are put together, in ms. */
const GATHERS = 200;
/** Time after which a picture that is out of sight is wished no more, in ms. */
const LINGERS = 1_000;
/** Steps of heights, in pixels. */
const STEP = 90;
/** Tracks with a wish of their own at most, as on the server. */
const MOST_WISHES = 256;
