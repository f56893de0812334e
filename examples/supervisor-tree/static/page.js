// The page: joins a room, and shows the call beside the server's supervision tree.
//
// window.demo is a frozen snapshot, made anew at each reading:
//   { status, room, name, peerId, peers: [{ id, name, heard, hidden, media, moving }], webrtc, channels, rtt, flowing, frames }
//   status: "starting" | "connecting" | "in" | "waiting" | "closed"
//   media:  "connected" | "waiting" | "none": whether its picture is here, has no place yet, or does not exist

import { unplug } from "./unplug.js";
import { connect } from "/callboard.js";
import { Call } from "./call.js";
import { Chat } from "./chat.js";
import { iceServers } from "./ice_servers.js";
import { Pointers } from "./pointers.js";
import { Rpc } from "./rpc.js";
import { startTree } from "./tree.js";
import { element, make, milliseconds, say } from "./view.js";

function start() {
  Object.defineProperty(window, "demo", { get: snapshot });
  element("room-name").textContent = room;
  document.title = `${room} · Callboard`;
  startTree({
    own: () => client?.peerId ?? "",
    flows: () => ({ ...pointers.flows(others()), media: call.flows((peer) => !pointers.isHidden(peer)) }),
    unplug,
    hold: async (token) => client?.call("demo", "hold_handshake", [token]),
  });
  // A page that is closed says so, or the others would wait for it.
  addEventListener("pagehide", () => { client?.close(); client = null; });
  addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); });
  join();
  setInterval(render, 250);
}

async function join() {
  show("connecting", `Joining “${room}”…`);
  try {
    servers = await iceServers();
    const joined = await connect(`/socket/${encodeURIComponent(room)}?name=${encodeURIComponent(name)}`, { firstDelay: 100, longestDelay: 2_000 });
    retry = 0;
    begin(joined);
  } catch (error) {
    const full = error.details === "room_is_full";
    show("closed", full ? "The room is full. Trying again…" : `Could not join: ${error.message}. Trying again…`);
    again();
  }
}

/** @param {import("/callboard.js").Client} joined */
async function begin(joined) {
  client = joined;
  lost = "";
  client.on("state", (state, { reason }) => stateChanged(joined, state, reason));
  client.on("joined", render);
  client.on("left", (peer) => { call.left(peer); pointers.forget(peer); render(); });
  client.on("room_restarted", () => chat.note("The room was restarted"));
  client.on("rejoined", () => { chat.lost(); chat.note("We lost our place, and have a new one"); render(); });
  client.on("resumed", () => chat.note("The WebSocket was lost and is back"));
  client.on("stream", (peer, stream) => { call.show(peer, stream); render(); });
  client.on("tracks", (tracks) => call.send(tracks));
  client.on("error", ({ code, message }) => {
    if (code === "webrtc_gave_up") retrySoon();
    else if (code === "media_failed") mediaFailed();
    else if (!QUIET.has(message)) chat.note(`The server says: ${message}`);
  });
  client.on("webrtc", (state) => { webrtc = state; render(); });
  client.on("channel_open", (label) => { channels.add(label); gaveUp = false; render(); });
  client.on("channel_closed", (label) => { channels.delete(label); render(); });
  client.on("data", ({ channel, data }) => heard(channel, data));
  client.register("describe", () => ({ name, language: navigator.language, pixels: [innerWidth, innerHeight] }));
  render();
  // While the browser asks for the camera, everything else goes over the WebSocket.
  const media = await call.stream;
  if (client !== joined) return;
  server = client.openPeerConnection({
    media,
    receive: PLACES,
    channels: { chat: {}, cursor: { ordered: false, maxRetransmits: 0 } },
    iceServers: servers,
  });
}

function stateChanged(which, state, reason) {
  if (which !== client) return;
  if (state === "open") lost = "";
  // Failed attempts tell less than the first loss.
  if (state === "waiting") lost ||= loss(reason);
  if (state === "waiting" || state === "connecting") show(state, `${lost} Reconnecting…`.trim());
  if (state !== "closed") return render();
  // The server has closed the connection regularly, as when our peer is stopped: join again as a new peer.
  client = null;
  server = null;
  channels.clear();
  call.clear();
  chat.lost();
  show("closed", `Closed by the server (${reason}). Coming back…`);
  again();
}

/**
 * Tries again to connect to the server after a pause. The client has given up, because one connection after the other
 * was lost: here a user may be breaking them.
 */
function retrySoon() {
  if (!gaveUp) chat.note("No connection to the server lasts. Messages go over the WebSocket, until one does");
  gaveUp = true;
  setTimeout(() => server?.retry(), PAUSE);
}

/** Begins our media again after a pause, since a user may break it here. The client does so by itself twice. */
function mediaFailed() {
  chat.note("Our pictures and sound failed again and again at the server, and begin anew");
  setTimeout(() => server?.retry(), PAUSE);
}

/** @param {string} reason that the server gave, if it gave one */
function loss(reason) {
  if (reason === "Room closed") return "The server has closed the room.";
  return `The connection was lost (${reason || "no goodbye"}); the call goes on.`;
}

function again() {
  setTimeout(join, Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** retry));
  retry += 1;
}

function heard(channel, data) {
  let said;
  try { said = JSON.parse(data); } catch { return; }
  if (typeof said !== "object" || said === null) return;
  if (channel === "chat") chat.heard(said, client?.peerId ?? "");
  else if (channel === "cursor") pointers.heard(said);
}

function others() {
  return [...(client?.peers.keys() ?? [])];
}

/** Returns who sends something without being a member. */
function bots() {
  return call.senders().filter((id) => !client?.peers.has(id));
}

/** @param {string} id of a peer, or of a bot, which is its name */
function nameOf(id) {
  return client?.peers.has(id) ? pointers.nameOf(id) : id;
}

function show(now, words) {
  status = now;
  element("status").dataset.status = now;
  say(element("status"), words);
}

function render() {
  const open = client?.state === "open";
  if (open) {
    const count = client.peers.size + bots().length;
    show("in", pointers.unanswered ? SILENT : count === 0 ? "You are in. Nobody else is here yet." : company(count));
  }
  chat.allow(open);
  rpc.allow(open);
  pointers.pace(channels.has("cursor"), client?.peers.size ?? 0, open);
  const way = channels.has("cursor") ? "data channel" : "WebSocket";
  say(element("chat-way"), channels.has("chat") ? "over a data channel" : "over the WebSocket");
  say(element("transport"), open && pointers.rtt !== null ? `${milliseconds(pointers.rtt)} to the server and back, by ${way}` : "");
  const present = [{ id: client?.peerId ?? "", name: `${name} (you)`, state: webrtc }];
  for (const id of [...others(), ...bots()]) present.push({ id, name: nameOf(id), state: PICTURES[call.stateOf(id)] });
  showPeople(open ? present : []);
  call.label(nameOf);
}

/** @param {number} count how many others are here */
function company(count) {
  const others = `${count} ${count === 1 ? "other" : "others"}`;
  return call.seen >= count ? `In a call with ${others}.` : `In a room with ${others}; pictures of ${call.seen || "none"}.`;
}

function showPeople(present) {
  const list = element("people");
  const rows = new Map([...list.children].map((row) => [row.dataset.peer, row]));
  for (const { id, name: shown, state } of present) {
    const row = rows.get(id) ?? list.appendChild(make("li", { dataset: { peer: id } }, make("span"), make("span", { className: "quiet" })));
    rows.delete(id);
    say(row.children[0], shown);
    say(row.children[1], state);
  }
  for (const row of rows.values()) row.remove();
}

function snapshot() {
  const peers = others().map((id) => Object.freeze({ id, name: pointers.nameOf(id), heard: pointers.alive(id), hidden: pointers.isHidden(id), media: call.stateOf(id), moving: call.moves(id) }));
  return Object.freeze({
    status, room, name, peerId: client?.peerId ?? null, peers: Object.freeze(peers), webrtc,
    channels: Object.freeze([...channels]), rtt: pointers.rtt, flowing: pointers.alive(), frames: call.frames,
  });
}

/** Returns a name that stays the same in each tab for as long as it is open. */
function ownName() {
  const asked = new URLSearchParams(location.search).get("name");
  const kept = asked || sessionStorage.getItem("name") || `${NAMES[Math.floor(Math.random() * NAMES.length)]} ${Math.floor(Math.random() * 90) + 10}`;
  sessionStorage.setItem("name", kept);
  return kept.slice(0, 24);
}

const NAMES = ["Badger", "Crane", "Dormouse", "Finch", "Heron", "Ibex", "Lynx", "Marten", "Otter", "Plover", "Stoat", "Wren"];
/** Errors that need no message, because the client tries again by itself. */
const QUIET = new Set(["No such peer", "WebRTC failed"]);
/** Words for what is here of a peer's picture. */
const PICTURES = { connected: "seen", waiting: "its picture has no place yet", none: "no picture" };
/** Places for the others' media at first; there are more when they are needed. */
const PLACES = { audio: 4, video: 4 };
const SILENT = "The server does not answer. What you write now may not arrive.";
const FIRST_DELAY = 100;
const LONGEST_DELAY = 2_000;
/** Time until a new connection to the server is tried, after one too many was lost. */
const PAUSE = 5_000;

const room = decodeURIComponent(location.pathname.split("/")[1] ?? "");
const name = ownName();
/** @type {import("/callboard.js").Client | null} */
let client = null;
/** Peer connection to the server. @type {ReturnType<import("/callboard.js").Client["openPeerConnection"]> | null} */
let server = null;
/** @type {Set<string>} labels of the data channels that are open */
const channels = new Set();
/** @type {RTCIceServer[]} */
let servers = [];
let status = "starting";
let webrtc = "new";
/** Whether the client has given up to connect to the server, and no connection was there since. */
let gaveUp = false;
/** Why the connection that is about to be restored was lost, in words. */
let lost = "";
let retry = 0;
const chat = new Chat((text) => client?.sendData("chat", JSON.stringify({ say: text })));
const pointers = new Pointers((text) => client?.sendData("cursor", text));
const rpc = new Rpc(() => client);
const call = new Call(name);

// Last: everything that it uses is defined.
start();
