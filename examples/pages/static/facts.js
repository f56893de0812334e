// Facts about an actor, and the faults that can be injected into it.

/** Shortens a name for display: of an id, the beginning is enough. */
export const shortName = (name) => name.replace(LONG_ID, "$1…");

/** Returns the last segment of a Rust type's path, without its parameters. */
export const shortType = (type) => type.split("<")[0].split("::").at(-1);

/**
 * Describes an actor in a line.
 *
 * @param {any} node
 * @param {number} since how old that is, in ms
 */
export function facts(node, since) {
  const { details, last_exit: exit } = node;
  const said = [];
  if (node.uptime_ms != null) said.push(`up ${duration(node.uptime_ms + since)}`);
  if (node.restarts > 0) said.push(`${node.restarts} ${node.restarts === 1 ? "restart" : "restarts"}`);
  if (exit) said.push(`last exit ${exit.kind}${exit.text ? `: ${exit.text}` : ""}`);
  if (node.thread) said.push(`on ${node.thread}`);
  if (node.kind === "worker") said.push(`${node.depth} waiting`);
  if (details.pair) said.push(`${details.pair.local} ⇄ ${details.pair.remote} (${details.pair.protocol})`);
  if (details.ice_state) said.push(`ICE ${details.ice_state}`);
  if (details.rtt_ms != null) said.push(`${details.rtt_ms} ms there and back`);
  if (details.dtls) said.push(`DTLS ${details.dtls}`);
  if (details.srtp) said.push(String(details.srtp));
  if (details.bytes_sent != null) said.push(`${bytes(details.bytes_sent)} out, ${bytes(details.bytes_received)} in`);
  if (losing.has(node.path)) said.push("loses 20 % of its datagrams");
  if (details.datagrams_lost) said.push(`${details.datagrams_lost} datagrams lost on purpose`);
  for (const encoding of details.encodings ?? []) said.push(`sends ${picture(encoding)}`);
  for (const slot of details.slots ?? []) said.push(carried(slot));
  if (details.estimate_kbps != null) said.push(`room for ${details.estimate_kbps} kbit/s`);
  if (details.undelivered) said.push(`${details.undelivered} packets not delivered`);
  for (const { label, state } of details.channels ?? []) said.push(`${label} ${state}`);
  if (details.shown_elsewhere) said.push(`${details.shown_elsewhere} shown below their peers`);
  if (details.actors != null) said.push(`${details.actors} actors: more than other nodes show`);
  if (details.silent_ms != null) said.push(`has not answered for ${duration(details.silent_ms + since)}`);
  if (details.note) said.push(String(details.note));
  return said.join(" · ");
}

function picture({ rid, height, kbps }) {
  return [rid, height && `${height}p`, kbps != null && `${kbps} kbit/s`].filter(Boolean).join(" ");
}

function carried({ of, kind, state, key_frames_wanted: wanted, lost, jitter_ms: jitter, round_trip_ms: trip, ...layer }) {
  const told = [];
  if (lost != null) told.push(`${Math.round(lost * 1_000) / 10} % lost`, `jitter ${jitter} ms`);
  if (trip != null) told.push(`${trip} ms there and back`);
  if (kind === "audio") return [`sound of ${of}`, ...told].join(", ");
  const flows = state === "flowing" ? picture(layer) : (state ?? "");
  return [`picture of ${of} ${flows}`, `${wanted} key ${wanted === 1 ? "frame" : "frames"} asked for`, ...told].join(", ");
}

function duration(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3_600)} h ${Math.floor(seconds / 60) % 60} min`;
}

function bytes(count) {
  if (count < 10_000) return `${count} B`;
  return count < 10_000_000 ? `${Math.round(count / 1_000)} kB` : `${Math.round(count / 1_000_000)} MB`;
}

const isConnection = ({ type }) => shortType(type) === "PeerConnection";
/** Whether a node has no supervisor that would start it again; of a tree among those of other nodes, `at` says where it is. */
const isTop = ({ path, at = { path } }) => !at.path.includes("/");
const runs = ({ status }) => status === "running";
/** Whether a node of a cluster allows this fault of it as a whole, or of a room that it runs. */
const allows = (fault) => (node) => runs(node) && (node.details.faults ?? []).includes(fault);

/** Paths of the connections that lose datagrams on our order. @type {Set<string>} */
export const losing = new Set();

/** Faults that can be injected. */
export const FAULTS = [
  { fault: "panic", words: () => "Panic", does: "It panics, as if a handler of its had", fits: (node) => !isTop(node) && runs(node) },
  { fault: "stop", words: () => "Stop", does: "It is asked to stop", fits: (node) => !isTop(node) && runs(node) },
  { fault: "kill", words: () => "Kill", does: "It is dropped where it stands", fits: (node) => !isTop(node) && runs(node) },
  {
    fault: "fail_handshake", words: () => "Fail handshake", does: "Its handshake fails: the one under way, or that of the connection which takes its place",
    fits: (node) => runs(node) && (isConnection(node) || shortType(node.type) === "HandshakeActor"),
  },
  {
    fault: "lose", words: ({ path }) => (losing.has(path) ? "Lose nothing" : "Lose 20 %"), does: "A part of the datagrams is lost, both ways",
    fits: (node) => isConnection(node) && runs(node),
  },
  { fault: "unplug", words: () => "Unplug", does: "Our WebSocket is cut", fits: (_, unplugs) => unplugs },
  { fault: "move", words: () => "Move", does: "The room goes to another node, and its members stay", fits: allows("move") },
  { fault: "drain", words: () => "Drain", does: "Its clients go on at other nodes, and its process ends", fits: allows("drain") },
];

const LONG_ID = /([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f-]+/;
