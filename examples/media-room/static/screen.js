// Our screen, which the others get beside our camera.

import { showStatus } from "./view.js";

export class Screen {
  #publish;
  #changed;
  /** @type {import("/callboard.js").Publication | null} */
  #shared = null;
  /** Whether the browser asks which screen to share. */
  #asking = false;

  /**
   * @param {(track: MediaStreamTrack) => import("/callboard.js").Publication} publish
   * @param {() => void} changed
   */
  constructor(publish, changed) {
    this.#publish = publish;
    this.#changed = changed;
  }

  get isShared() {
    return this.#shared !== null;
  }

  /** Shares a screen, until the user ends it here or in the browser's own bar. */
  async toggle() {
    if (this.#shared) return this.stop();
    if (this.#asking) return;
    this.#asking = true;
    try {
      const [track] = (await navigator.mediaDevices.getDisplayMedia({ video: true })).getVideoTracks();
      // Sharp rather than smooth: most screens show text.
      track.contentHint = "detail";
      track.addEventListener("ended", () => this.stop());
      try {
        this.#shared = this.#publish(track);
      } catch (error) {
        // The call is over meanwhile.
        track.stop();
        throw error;
      }
      this.#changed();
    } catch (error) {
      if (error.name !== "NotAllowedError") showStatus(`The screen cannot be shared: ${error.message}`);
    } finally {
      this.#asking = false;
    }
  }

  stop() {
    if (!this.#shared) return;
    this.#shared.unpublish();
    this.#shared.track.stop();
    this.#shared = null;
    this.#changed();
  }
}
