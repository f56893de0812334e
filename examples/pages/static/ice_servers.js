// The STUN and TURN servers of this site.

/** @type {Promise<RTCIceServer[]> | null} */
let asked = null;

/** Asks once. A site that tells none, or cannot be asked now, has none. */
export function iceServers() {
  asked ??= fetch("/ice-servers", { cache: "no-store" })
    .then((answer) => (answer.ok ? answer.json() : []))
    .catch(() => []);
  return asked;
}
