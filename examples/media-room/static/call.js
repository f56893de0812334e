// The call: one connection to the server, which carries our media to it and that of all others back.
//
// window.callState is a frozen snapshot, made anew at each reading:
//   { status, room, peerId, state, media, isHost, isRecorded, view, large, peers, screens }
//   state:    of the peer connection, as in RTCPeerConnection.connectionState
//   media:    "none" | "camera" | "mixed" | "synthetic"
//   view:     "grid" | "speaker"; large: key of the tile that is large, a peer id or `PEER screen`
//   peers:    [{ id, name, isHost, state, width, time, flow }]; flow: what flows of its picture, as in the client's event
//             of that name; null before it is known
//   screens:  those that others share, [{ id, name, isHost, state, width, time, flow }]

import { connect } from "/callboard.js";
import { iceServers } from "./ice_servers.js";
import { Details } from "./details.js";
import { openLocalMedia } from "./media.js";
import { People } from "./people.js";
import { Screen } from "./screen.js";
import { Stage } from "./stage.js";
import { element, press, showOwn, showStatus } from "./view.js";

const room = decodeURIComponent(location.pathname.slice(1));
const query = new URLSearchParams(location.search);
/** What we have switched off. */
const off = { sound: false, picture: false };
/** How the call stands, as the server says: its host, and whether it is recorded. */
let call = { host: null, recorded: false, on_demand: false };
let client = null;
let peer = null;
let people = null;
let stage = null;
let details = null;
let media = null;
/** What we publish of our camera and microphone. */
let published = null;
let end = "";
let trouble = "";

const screen = new Screen((track) => client.publish(track, { source: "screen" }), render);

async function start() {
  Object.defineProperty(window, "callState", { get: snapshot });
  element("room").textContent = room;
  document.title = `${room} · Callboard`;
  const clicked = (id, does) => element(id).addEventListener("click", does);
  clicked("mute", () => toggle("sound"));
  clicked("camera", () => toggle("picture"));
  clicked("screen", () => screen.toggle());
  clicked("view", () => { stage?.toggleView(); render(); });
  clicked("record", () => ask("record", !call.recorded));
  clicked("details", () => { if (details) press("details", details.toggle(), "Details"); });
  clicked("sound", () => stage?.soundOn());
  clicked("retry", () => (end ? location.reload() : peer.retry()));
  addEventListener("pagehide", () => client?.close());
  addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); });
  const label = query.get("name") ?? "";
  media = await openLocalMedia({ synthetic: query.has("synthetic"), label });
  showOwn(media);
  apply();
  try {
    client = await connect(`/socket/${encodeURIComponent(room)}?${new URLSearchParams({ name: label })}`);
  } catch (error) {
    end = error.details === "room_is_full" ? "The room is full." : `Cannot join the room: ${error.message}`;
    return render();
  }
  people = new People(client, render);
  stage = new Stage(client, { changed: render, remove: (id) => ask("remove", id) });
  details = new Details(client, () => peer?.connection);
  for (const event of ["joined", "left", "webrtc", "flow"]) client.on(event, render);
  client.on("call", (now, from) => { if (from === null) call = now; render(); });
  client.on("state", (state, { reason }) => { if (state === "closed") leave(reason); render(); });
  peer = client.openPeerConnection({ receive: { audio: 4, video: 4 }, iceServers: await iceServers() });
  const [sound, picture] = ["audio", "video"].map((kind) => media.stream.getTracks().find((track) => track.kind === kind));
  published = { sound: client.publish(sound), picture: client.publish(picture) };
  apply();
  element("screen").hidden = !navigator.mediaDevices?.getDisplayMedia;
  render();
}

function leave(reason) {
  end = `The call is over: ${reason}.`;
  screen.stop();
}

/** Switches our sound or picture off, or on again; the server tells the others. */
function toggle(what) {
  off[what] = !off[what];
  apply();
}

function apply() {
  press("mute", off.sound, off.sound ? "Unmute" : "Mute");
  press("camera", off.picture, off.picture ? "Camera on" : "Camera off");
  for (const track of media?.stream.getTracks() ?? []) track.enabled = track.kind === "audio" ? !off.sound : !off.picture;
  for (const what of ["sound", "picture"]) {
    if (published && published[what].muted !== off[what]) published[what].mute(off[what]);
  }
}

/** Asks the server for what a host may do. */
async function ask(what, argument) {
  trouble = "";
  try {
    await client.call("call", what, [argument]);
  } catch (error) {
    trouble = `The server does not do that: ${error.message}`;
  }
  render();
}

function render() {
  const isHost = client !== null && call.host === client.peerId;
  const tiles = end ? [] : people?.tiles(details, call.host) ?? [];
  stage?.show(tiles, isHost);
  element("own-name").textContent = isHost && !end ? "You, host" : "You";
  showStatus(words(tiles));
  element("recorded").hidden = !call.recorded || Boolean(end);
  element("record").hidden = !isHost || !call.on_demand || Boolean(end);
  press("record", call.recorded, call.recorded ? "Stop recording" : "Record");
  press("screen", screen.isShared, screen.isShared ? "Stop sharing" : "Share screen");
  press("view", stage?.view === "speaker", "Speaker view");
  element("retry").hidden = !end && peer?.state !== "failed";
  document.body.classList.toggle("over", Boolean(end));
}

function words(tiles) {
  if (end) return end;
  if (!client) return "Connecting…";
  if (client.state !== "open") return "Reconnecting…";
  if (peer?.state === "failed") return "There is no way for media to the server.";
  if (peer?.state !== "connected") return "Connecting sound and pictures…";
  const count = tiles.filter(({ isScreen }) => !isScreen).length;
  const here = count === 0 ? "You are in. Nobody else is here yet." : `In a call with ${count} ${count === 1 ? "other" : "others"}.`;
  const shared = tiles.filter(({ isScreen }) => isScreen).map(({ owner }) => `${owner} shares a screen.`);
  return [here, ...shared, screen.isShared && "You share your screen.", trouble].filter(Boolean).join(" ");
}

function snapshot() {
  const tiles = end ? [] : people?.tiles(details, call.host) ?? [];
  const shown = ({ id, key, name, isHost, state, picture }) => {
    const { videoWidth = 0, currentTime = 0 } = stage.video(key) ?? {};
    return Object.freeze({ id, name, isHost, state, width: videoWidth, time: currentTime, flow: details.flow(picture) });
  };
  return Object.freeze({
    status: words(tiles), room, peerId: client?.peerId, state: peer?.state, media: media?.kind ?? "none",
    isHost: client !== null && call.host === client.peerId, isRecorded: call.recorded,
    view: stage?.view ?? "grid", large: stage?.large ?? null,
    peers: tiles.filter(({ isScreen }) => !isScreen).map(shown), screens: tiles.filter(({ isScreen }) => isScreen).map(shown),
  });
}

// Last: everything that it uses is defined.
start();
