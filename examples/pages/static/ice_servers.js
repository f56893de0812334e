// The STUN and TURN servers of this site.

/** @type {Promise<RTCIceServer[]> | null} */
let asked = null;

/** Returns the servers: asks once, and again if there was no answer. A site without the route has none. */
export function iceServers() {
  asked ??= fetch("/ice-servers", { cache: "no-store" })
    .then((answer) => (answer.ok ? answer.json() : []))
    .catch(() => { asked = null; return []; });
  return asked;
}
