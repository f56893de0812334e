// The call: one connection to the server, which carries our media to it and that of all others back.
//
// window.callState is a frozen snapshot, made anew at each reading:
//   { status, room, peerId, state, media, peers: [{ id, name, state, width, time, flow }] }
//   state:  of the peer connection, as in RTCPeerConnection.connectionState
//   flow:   what flows of its picture, as in the client's event of that name; null before it is known
//   media:  "none" | "camera" | "mixed" | "synthetic" | "screen"

import { connect } from "/callboard.js";
import { iceServers } from "./ice_servers.js";
import { Details, wishBySize } from "./layers.js";
import { openLocalMedia } from "./media.js";
import { element, press, showOthers, showOwn, showStatus, soundOn } from "./view.js";

const room = decodeURIComponent(location.pathname.slice(1));
const query = new URLSearchParams(location.search);
/** What the others send, by peer. @type {Map<string, MediaStream>} */
const streams = new Map();
/** What the others have switched off, by peer. @type {Map<string, { sound: boolean, picture: boolean }>} */
const off = new Map();
const own = { sound: false, picture: false };
let client = null;
let peer = null;
/** What the others' pictures are shown as. @type {{ update(): void } | null} */
let sizes = null;
let details = null;
let media = null;
let shared = null;
/** The browser's question which screen to share, while it is open. */
let question = null;
let end = "";

async function start() {
  Object.defineProperty(window, "callState", { get: snapshot });
  element("room").textContent = room;
  document.title = `${room} · Callboard`;
  element("mute").addEventListener("click", () => toggle("sound"));
  element("camera").addEventListener("click", () => toggle("picture"));
  element("screen").addEventListener("click", share);
  element("screen").hidden = !navigator.mediaDevices?.getDisplayMedia;
  element("details").addEventListener("click", () => { if (details) press("details", details.toggle(), "Details"); });
  element("sound").addEventListener("click", soundOn);
  element("retry").addEventListener("click", () => (end ? location.reload() : peer.retry()));
  addEventListener("pagehide", () => client?.close());
  addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); });
  const label = query.get("name") ?? "";
  media = await openLocalMedia({ synthetic: query.has("synthetic"), label });
  showOwn(media);
  try {
    const name = new URLSearchParams({ name: label });
    client = await connect(`/socket/${encodeURIComponent(room)}?${name}`);
  } catch (error) {
    end = error.details === "room_is_full" ? "The room is full." : `Cannot join the room: ${error.message}`;
    return render();
  }
  client.on("joined", (id) => { client.send("off", own, id); render(); });
  client.on("left", (id) => { off.delete(id); render(); });
  client.on("rejoined", () => client.send("off", own));
  client.on("off", (what, from) => { off.set(from, { sound: what?.sound === true, picture: what?.picture === true }); render(); });
  client.on("stream", (id, stream) => {
    if (stream) streams.set(id, stream);
    else streams.delete(id);
    render();
  });
  client.on("webrtc", render);
  sizes = wishBySize(client);
  details = new Details(client, () => peer?.connection);
  client.on("state", (state, { reason }) => { if (state === "closed") end = `The call is over: ${reason}.`; render(); });
  peer = client.openPeerConnection({
    media: media.stream,
    receive: { audio: 4, video: 4 },
    iceServers: await iceServers(),
  });
  render();
}

/** Switches our sound or picture off, or on again; the others are told. */
function toggle(what) {
  own[what] = !own[what];
  if (what === "sound") press("mute", own.sound, own.sound ? "Unmute" : "Mute");
  else press("camera", own.picture, own.picture ? "Camera on" : "Camera off");
  apply();
  client?.send("off", own);
}

function apply() {
  for (const track of media?.stream.getTracks() ?? []) track.enabled = track.kind === "audio" ? !own.sound : !own.picture;
}

/** Sends the screen in place of the camera, until the user ends it here or in the browser's own bar. */
function share() {
  if (shared) return unshare();
  question ??= ask().finally(() => { question = null; });
}

async function ask() {
  try {
    shareThis((await navigator.mediaDevices.getDisplayMedia({ video: true })).getVideoTracks()[0]);
  } catch (error) {
    if (error.name !== "NotAllowedError") showStatus(`The screen cannot be shared: ${error.message}`);
  }
}

function shareThis(screen) {
  shared = { screen, camera: media.stream.getVideoTracks()[0] };
  screen.addEventListener("ended", unshare);
  send(screen);
}

function unshare() {
  if (!shared) return;
  const { screen, camera } = shared;
  shared = null;
  screen.stop();
  send(camera);
}

/** Sends this picture instead, also over a connection that replaces this one. */
function send(track) {
  const before = media.stream.getVideoTracks()[0];
  media.stream.removeTrack(before);
  media.stream.addTrack(track);
  apply();
  press("screen", Boolean(shared), shared ? "Stop sharing" : "Share screen");
  element("own").parentElement.classList.toggle("mirrored", !shared && media.kind === "camera");
  const sender = peer?.connection.getSenders().find((one) => one.track === before);
  // A connection that is over is replaced by one that sends the stream.
  sender?.replaceTrack(track).catch(() => {});
}

function others() {
  if (!client || end) return [];
  return [...client.peers].map(([id, metadata]) => {
    const { sound = false, picture = false } = off.get(id) ?? {};
    const stream = streams.get(id) ?? null;
    const silent = [sound && "muted", picture && "camera off"].filter(Boolean).join(", ");
    return { id, name: nameOf(id, metadata), stream, state: stream ? silent : "connecting…" };
  });
}

/** Returns the name that a peer gave, and the start of its id: names may be shared, ids are not. */
function nameOf(id, { name }) {
  return typeof name === "string" && name ? `${name} (${id.slice(0, 4)})` : `Guest ${id.slice(0, 4)}`;
}

function render() {
  const all = others();
  showOthers(all);
  sizes?.update();
  showStatus(words(all.length));
  element("retry").hidden = !end && peer?.state !== "failed";
}

function words(count) {
  if (end) return end;
  if (!client) return "Connecting…";
  if (client.state !== "open") return "Reconnecting…";
  if (peer?.state === "failed") return "There is no way for media to the server.";
  if (peer?.state !== "connected") return "Connecting sound and pictures…";
  if (count === 0) return "You are in. Nobody else is here yet.";
  return `In a call with ${count} ${count === 1 ? "other" : "others"}.`;
}

function snapshot() {
  const peers = others().map(({ id, name, state }) => {
    const video = document.querySelector(`video[data-peer="${CSS.escape(id)}"]`);
    return Object.freeze({ id, name, state, width: video?.videoWidth ?? 0, time: video?.currentTime ?? 0, flow: details?.flow(id) ?? null });
  });
  const kind = shared ? "screen" : media?.kind ?? "none";
  return Object.freeze({ status: words(peers.length), room, peerId: client?.peerId, state: peer?.state, media: kind, peers });
}

// Last: everything that it uses is defined.
start();
