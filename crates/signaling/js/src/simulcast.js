// Simulcast of what the page sends: which encodings there are of a picture, and which of them are sent.

/**
 * Returns the encodings of a picture of this size, the lowest first: each half as wide as the next. Small pictures have
 * fewer, and one alone is no simulcast: none.
 *
 * @param {MediaTrackSettings} settings
 * @returns {RTCRtpEncodingParameters[]}
 */
export function encodings({ width = 0, height = 0 }) {
  const pixels = width * height;
  const rids = SIZES.find(([least]) => pixels >= least)?.[1] ?? [];
  return rids.map((rid, at) => {
    const scale = 2 ** (rids.length - 1 - at);
    const maxBitrate = Math.round(HD_BITRATE * (pixels / scale ** 2 / HD) ** 0.75);
    return { rid, scaleResolutionDownBy: scale, maxBitrate };
  });
}

/**
 * Sends those encodings that the server wants, and no others.
 *
 * @param {RTCPeerConnection} connection
 * @param {string} mid
 * @param {Record<string, boolean>} rids whether each is wanted
 */
export function sendWanted(connection, mid, rids) {
  const sender = connection.getTransceivers().find((one) => one.mid === mid)?.sender;
  if (!sender) return;
  const before = changing.get(sender) ?? Promise.resolve();
  // One after the other: parameters can be set once for each time that they were read.
  changing.set(sender, before.then(() => activate(sender, rids)).catch(() => {}));
}

/**
 * @param {RTCRtpSender} sender
 * @param {Record<string, boolean>} rids
 */
async function activate(sender, rids) {
  const parameters = sender.getParameters();
  const changed = parameters.encodings.filter(({ rid = "", active }) => Object.hasOwn(rids, rid) && rids[rid] !== active);
  for (const encoding of changed) encoding.active = !encoding.active;
  if (changed.length > 0) await sender.setParameters(parameters);
}

/** @type {WeakMap<RTCRtpSender, Promise<void>>} */
const changing = new WeakMap();
/** Least size in pixels for so many encodings. @type {[number, string[]][]} */
const SIZES = [
  [960 * 540, ["q", "h", "f"]],
  [480 * 270, ["h", "f"]],
];
/** Size of 720p, in pixels. */
const HD = 1280 * 720;
/** Highest bitrate of 720p, in bit/s. */
const HD_BITRATE = 1_700_000;
