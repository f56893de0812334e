// The call: connects signaling, mesh and media with the page.
//
// window.callState is a frozen snapshot, made anew at each reading:
//   { status, words, room, peerId, media, peers: [{ id, name, connection, signaling, channel }] }
//   status: "starting" | "login" | "connecting" | "waiting" | "in-call" | "reconnecting" | "full" | "refused"
//           | "wrong-credentials" | "not-found" | "left"
//   media:  "none" | "camera" | "mixed" | "synthetic"

import { openLocalMedia } from "./media.js";
import { Mesh } from "./mesh.js";
import { Signaling } from "./signaling.js";
import * as view from "./view.js";

const { element } = view;
const room = roomName();
const signaling = new Signaling(room);
const names = new Map();
let mesh = null;
let media = null;
let opening = null;
let peerId = null;
let joined = false;
let status = "starting";
let words = "";

function start() {
  Object.defineProperty(window, "callState", { get: snapshot });
  element("room-name").textContent = room;
  document.title = `${room} · Callboard`;
  signaling.addEventListener("status", ({ detail }) => statusChanged(detail));
  signaling.addEventListener("message", ({ detail }) => messageArrived(detail));
  element("login-form").addEventListener("submit", logIn);
  element("chat-form").addEventListener("submit", chat);
  element("leave").addEventListener("click", () => (OUTSIDE.includes(status) ? join() : leave()));
  element("mute").addEventListener("click", () => toggle("mute", "audio", "Mute", "Unmute"));
  element("camera").addEventListener("click", () => toggle("camera", "video", "Camera off", "Camera on"));
  element("sound").addEventListener("click", view.soundOn);
  // Leaving the page says goodbye at once, before the others' connections time out.
  addEventListener("pagehide", () => { endCall(); signaling.close(); });
  addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); });
  if (credentials()) join();
  else askForLogin("login", "Log in to join.");
}

// ---- joining and leaving

function logIn(event) {
  event.preventDefault();
  const value = JSON.stringify({ username: element("username").value, password: element("password").value });
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `credentials=${encodeURIComponent(value)}; path=/; SameSite=Strict${secure}`;
  join();
}

async function join() {
  view.showLogin(false);
  view.showLeave("Leave", true);
  setStatus("connecting", "Opening camera and microphone…");
  opening ??= openLocalMedia({
    synthetic: new URLSearchParams(location.search).has("synthetic"),
    label: credentials()?.username ?? "",
  });
  const opened = await opening;
  // A call that is joined again meanwhile waits for the same camera.
  if (!media) {
    media = opened;
    view.showLocal(media);
    applyToggles();
  }
  // The user may have pressed Leave while the browser asked for the camera.
  if (status === "connecting") signaling.open();
}

function leave() {
  endCall();
  signaling.close();
  setStatus("left", "You left the call.");
  view.showLeave("Rejoin", false);
}

function endCall() {
  mesh?.close();
  mesh = null;
  joined = false;
  peerId = null;
  names.clear();
  render();
}

function askForLogin(reason, why) {
  endCall();
  setStatus(reason, why);
  view.showLeave("", false);
  view.showLogin(true);
}

// ---- messages of the server

function statusChanged({ status: now, reason, seconds, closed }) {
  joined = now === "joined";
  switch (now) {
    case "connecting":
      return setStatus("connecting", mesh ? "Reconnecting… The call goes on meanwhile." : `Connecting to “${room}”…`);
    case "reconnecting":
      if (closed) endCall();
      return setStatus("reconnecting", `${reason} ${mesh?.peers.length ? "The call goes on meanwhile. " : ""}Reconnecting in ${seconds} s…`);
    case "full":
      return turnedAway("full", "The room is full. Try again when someone has left.");
    case "refused":
      return turnedAway("refused", `The room does not let you in: ${reason}`);
    case "not-found":
      return turnedAway("not-found", "There is no such room.");
    case "no-credentials":
      return askForLogin("login", "Log in to join.");
    case "wrong-credentials":
      return askForLogin("wrong-credentials", "Wrong user name or password.");
  }
}

/** Stops: another attempt by ourselves is useless; the button makes one. */
function turnedAway(now, why) {
  endCall();
  setStatus(now, why);
  view.showLeave("Try again", false);
}

function messageArrived(message) {
  const { event, data } = message;
  switch (event) {
    case "authenticated":
      return begin(data);
    case "joined":
      mesh?.welcome(data.peer_id);
      return view.remark(data.peer_id, nameOf(data.peer_id), "joined");
    case "left":
      view.remark(data.peer_id, nameOf(data.peer_id), "left");
      mesh?.forget(data.peer_id);
      names.delete(data.peer_id);
      return render();
    case "room_restarted":
      mesh?.settle(data.peers ?? []);
      return view.log(null, "The room was restarted");
    case "error":
      // A peer that has just left cannot be reached any more: its `left` is on its way.
      if (data?.description !== "No such peer") view.log(null, `The server says: ${data?.description}`);
      return;
    default:
      return mesh?.handle(message);
  }
}

function begin({ peer_id: own, peers = [] }) {
  endCall();
  joined = true;
  peerId = own;
  const send = (event, data, to) => signaling.send(event, data, to);
  mesh = new Mesh({ own, local: media.stream, send, iceServers: signaling.iceServers });
  mesh.addEventListener("changed", render);
  mesh.addEventListener("track", ({ detail }) => { render(); view.play(detail.peer, detail.stream); });
  mesh.addEventListener("channel", ({ detail }) => {
    if (detail.open) mesh?.say(detail.peer, JSON.stringify({ name: credentials()?.username ?? "" }));
    render();
  });
  mesh.addEventListener("text", ({ detail }) => textArrived(detail.peer, detail.text));
  for (const peer of peers) if (peer !== own) mesh.expect(peer);
  render();
}

// ---- chat: {"name": …} once, then {"text": …}; anything else is shown as it is

function textArrived(peer, raw) {
  let said = null;
  try { said = JSON.parse(raw); } catch { /* plain text of another kind of client */ }
  if (typeof said?.name === "string") {
    names.set(peer, said.name.slice(0, NAME_LENGTH));
    view.rename(peer, nameOf(peer));
    return render();
  }
  const text = typeof said?.text === "string" ? said.text : raw;
  view.log(nameOf(peer), text.slice(0, TEXT_LENGTH));
}

function chat(event) {
  event.preventDefault();
  const input = element("chat-input");
  const text = input.value.trim();
  if (!text || !mesh) return;
  const others = mesh.peers.length;
  const reached = mesh.broadcast(JSON.stringify({ text }));
  view.log("You", text);
  if (reached < others) view.log(null, `Reached ${reached} of ${others}`);
  input.value = "";
}

// ---- showing

function render() {
  const others = (mesh?.peers ?? []).map((peer) => ({
    id: peer.id,
    name: nameOf(peer.id),
    state: peer.connection === "new" ? "connecting" : peer.connection,
  }));
  view.showTiles(others);
  view.showPeople(mesh ? credentials()?.username ?? "You" : null, others);
  view.allowChat(mesh?.peers.some((peer) => peer.channel === "open") ?? false);
  if (joined) {
    if (others.length === 0) setStatus("waiting", "You are in. Waiting for someone to join…");
    else setStatus("in-call", `In a call with ${others.length} ${others.length === 1 ? "other" : "others"}.`);
  }
}

function setStatus(now, why) {
  status = now;
  words = why;
  view.showStatus(now, why);
}

function toggle(id, kind, on, off) {
  const button = element(id);
  const isOff = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(isOff));
  button.textContent = isOff ? off : on;
  applyToggles();
  if (kind === "video") element("local-tile").classList.toggle("off", isOff);
}

function applyToggles() {
  for (const track of media?.stream.getTracks() ?? []) {
    const button = element(track.kind === "audio" ? "mute" : "camera");
    track.enabled = button.getAttribute("aria-pressed") !== "true";
  }
}

function snapshot() {
  const peers = (mesh?.peers ?? []).map((peer) => Object.freeze({ ...peer, name: nameOf(peer.id) }));
  return Object.freeze({ status, words, room, peerId, media: media?.kind ?? "none", peers: Object.freeze(peers) });
}

/** Returns the name that a peer gave, and the start of its id: names may be shared, ids are not. */
function nameOf(peer) {
  const short = String(peer).slice(0, 4);
  const name = names.get(peer);
  return name ? `${name} (${short})` : `Guest ${short}`;
}

function roomName() {
  const segment = location.pathname.split("/")[1] ?? "";
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

function credentials() {
  const pair = document.cookie.split("; ").find((cookie) => cookie.startsWith("credentials="));
  if (!pair) return null;
  const value = pair.slice("credentials=".length);
  for (const decode of [decodeURIComponent, String]) {
    try {
      const parsed = JSON.parse(decode(value));
      if (parsed && typeof parsed === "object") return parsed;
    } catch { /* raw, or not ours */ }
  }
  return null;
}

/** States in which nothing runs, and the button joins. */
const OUTSIDE = ["left", "full", "refused", "not-found"];
const NAME_LENGTH = 40;
const TEXT_LENGTH = 2000;

// Last: everything that it uses is defined.
start();
