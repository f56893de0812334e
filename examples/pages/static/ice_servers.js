// The STUN and TURN servers of this site.

/** @type {Promise<RTCIceServer[]> | null} */
let asked = null;

/** Asks once, and again if there was no answer. A site that tells none has none. */
export function iceServers() {
  asked ??= fetch("/ice-servers", { cache: "no-store" })
    .then((answer) => (answer.ok ? answer.json() : []))
    .catch(() => { asked = null; return []; });
  return asked;
}
