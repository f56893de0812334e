// Page of the measurements in browsers. The load tool calls the functions of `window.bench`.

import { connect } from "/callboard.js";

/** Sends drawn pictures, in two sizes. */
async function send() {
  const client = await connect(ROOM);
  client.openPeerConnection({ receive: { video: 1 } });
  client.publish(drawn());
}

/**
 * Shows the picture of another.
 *
 * @returns {Promise<void>} when it is shown
 */
async function watch() {
  window.viewer = await Viewer.open();
  await window.viewer.until(() => true);
}

/**
 * Switches between the lowest and the highest layer so many times, and counts what its viewer sees of that.
 *
 * @param {number} times
 * @returns {Promise<{ freezes: number[], took: number[], missed: number, errors: number, dropped: number }>} of each switch
 *   the longest time between two frames, and the time until the other layer was shown, in ms; how many switches did not
 *   come; how often the decoder has asked for a key frame; frames that were not shown
 */
async function switches(times) {
  const { viewer } = window;
  const before = await viewer.stats();
  const freezes = [], took = [];
  let missed = 0;
  for (let at = 0; at < times; at += 1) {
    const { height } = viewer.frames.at(-1);
    const began = performance.now();
    viewer.wishForOtherLayer();
    const other = await viewer.until((frame) => frame.at > began && frame.height !== height);
    if (other) took.push(other.at - began);
    else missed += 1;
    // What follows the first frame of another layer may come late.
    await sleep(AFTER + Math.random() * FRAME);
    freezes.push(viewer.longestGap(began));
    viewer.forget();
  }
  const after = await viewer.stats();
  const grown = (name) => (after[name] ?? 0) - (before[name] ?? 0);
  return { freezes, took, missed, errors: grown("pliCount"), dropped: grown("framesDropped") };
}

/**
 * Comes and goes so many times.
 *
 * @param {number} times
 * @returns {Promise<{ joined: number[], connected: number[] }>} times until the first frame was shown, in ms: from the
 *   beginning, and from the connected path on
 */
async function arrive(times) {
  const joined = [], connected = [];
  for (let at = 0; at < times; at += 1) {
    const began = performance.now();
    const viewer = await Viewer.open();
    const first = await viewer.until(() => true);
    if (!first) throw new Error("no frame has come");
    joined.push(first.at - began);
    connected.push(first.at - viewer.connectedAt);
    viewer.close();
    // At all times within a frame, and later than a publisher may be asked for a key frame again.
    await sleep(APART + Math.random() * FRAME);
  }
  return { joined, connected };
}

/** Sends, and shows the picture of another. */
async function call() {
  window.viewer = await Viewer.open();
  window.viewer.client.publish(drawn());
}

/**
 * Returns the time at which the first frame was shown after the client has come into the room anew, later than `after`.
 *
 * @param {number} after in ms since 1970, as all times of this
 * @returns {number | null} none until then
 */
function back(after) {
  const { rejoinedAt, frames } = window.viewer;
  if (performance.timeOrigin + rejoinedAt < after) return null;
  const first = frames.find(({ at }) => at > rejoinedAt);
  return first ? performance.timeOrigin + first.at : null;
}

/** Client that shows the picture of another. */
class Viewer {
  /** What was shown: when, in ms since the page was opened, and how high. @type {{ at: number, height: number }[]} */
  frames = [];
  connectedAt = -Infinity;
  /** When it has come into the room anew. */
  rejoinedAt = -Infinity;
  #video = Object.assign(document.createElement("video"), { autoplay: true, muted: true, playsInline: true, width: 640, height: 360 });
  #track = "";
  /** Whether it has wished for the lowest layer. */
  #lowest = false;
  /** @type {((frame: { at: number, height: number }) => void)[]} */
  #waiting = [];

  static async open() {
    return new Viewer(await connect(ROOM));
  }

  constructor(client) {
    this.client = client;
    document.querySelector("main").append(this.#video);
    this.#video.requestVideoFrameCallback(this.#shown);
    client.on("webrtc", (state) => { if (state === "connected") this.connectedAt = performance.now(); });
    client.on("rejoined", () => { this.rejoinedAt = performance.now(); });
    client.on("tracks", (all) => {
      const picture = all.find(({ kind }) => kind === "video");
      if (!picture || picture.track === this.#track) return;
      this.#track = picture.track;
      client.watch(this.#video, picture.track);
    });
    this.peer = client.openPeerConnection({ receive: { video: 1 } });
  }

  /** Wishes for the lowest layer if it has wished for the highest, and the other way round. */
  wishForOtherLayer() {
    this.#lowest = !this.#lowest;
    this.client.wish({ tracks: { [this.#track]: { height: this.#lowest ? LOWEST : HIGHEST } } });
  }

  /**
   * Waits for a frame; for none after a while.
   *
   * @param {(frame: { at: number, height: number }) => boolean} is
   */
  async until(is) {
    const found = this.frames.find(is);
    if (found) return found;
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(null), PATIENCE);
      const look = (frame) => {
        if (!is(frame)) return void this.#waiting.push(look);
        clearTimeout(timer);
        resolve(frame);
      };
      this.#waiting.push(look);
    });
  }

  /** Returns the longest time between two frames since then, also that since the last one. */
  longestGap(since) {
    const first = this.frames.findLastIndex(({ at }) => at <= since);
    const times = [...this.frames.slice(Math.max(first, 0)).map(({ at }) => at), performance.now()];
    return Math.max(...times.slice(1).map((at, before) => at - times[before]));
  }

  /** Forgets all frames but the latest. */
  forget() {
    this.frames.splice(0, this.frames.length - KEPT);
  }

  async stats() {
    const all = [...(await this.peer.connection.getStats()).values()];
    return all.find(({ type, kind }) => type === "inbound-rtp" && kind === "video") ?? {};
  }

  close() {
    this.client.close();
    this.#video.remove();
  }

  #shown = (at, { height }) => {
    const frame = { at: performance.now(), height };
    this.frames.push(frame);
    for (const look of this.#waiting.splice(0)) look(frame);
    this.#video.requestVideoFrameCallback(this.#shown);
  };
}

/** Draws pictures that change all over, 30 in a second. */
function drawn() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
  const pen = canvas.getContext("2d");
  const draw = () => {
    const now = performance.now() / 10;
    for (let at = 0; at < 16; at += 1) {
      pen.fillStyle = `hsl(${(now + at * 22) % 360} 60% ${30 + ((now + at * 7) % 40)}%)`;
      pen.fillRect(at * 40, 0, 40, 360);
    }
    pen.fillStyle = "#fff";
    pen.fillRect(now % 600, (now * 0.7) % 320, 40, 40);
  };
  draw();
  setInterval(draw, FRAME);
  return canvas.captureStream(30).getVideoTracks()[0];
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const ROOM = "/socket/bench";
/** Heights that no layer is below, and that none reaches. */
const LOWEST = 1, HIGHEST = 10_000;
const FRAME = 1_000 / 30;
/** Time after a switch in which frames are watched, in ms. */
const AFTER = 300;
/** Time from one viewer to the next, in ms: longer than a publisher is not asked for a key frame again. */
const APART = 600;
/** Time after which a frame that has not come never will, in ms. */
const PATIENCE = 10_000;
/** Frames that are kept. The first of them may be before a switch. */
const KEPT = 10;

window.bench = { send, watch, switches, arrive, call, back };
