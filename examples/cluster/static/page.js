// The page of a room: who is in it and at which node, where its home is, and buttons for what a node may suffer.
//
// window.cluster is a frozen snapshot, made anew at each reading:
//   { status, state, peerId, here, home, nodes, members, lines }
//   nodes:    [{ name, url, isAway }]; members: [{ id, name, node }], ourselves first
//   lines:    [{ number, name, text }] of the chat; the number is counted by the room

import { connect } from "/callboard.js";
import { startTrees } from "./trees.js";
import { addLine, element, make, say } from "./view.js";

const room = decodeURIComponent(location.pathname.slice(1));
const name = new URLSearchParams(location.search).get("name") || "guest";
let client = null;
let trouble = "";
/** Where we are, as the node says. */
let place = { here: "", home: "", nodes: [], faults: false };
/** Our id, and the node at which it has joined: the others know that. */
let joined = { id: "", node: "" };
/** Nodes at which other members are now that have come to another one, by their ids. @type {Map<string, string>} */
const moved = new Map();
/** Addresses of all nodes that there were, by name. @type {Map<string, string>} */
const known = new Map();
const lines = [];

async function start() {
  Object.defineProperty(window, "cluster", { get: snapshot });
  element("room").textContent = room;
  document.title = `${room} · Cluster`;
  element("chat-form").addEventListener("submit", speak);
  addEventListener("pagehide", () => client?.close());
  addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); });
  startTrees(() => client?.peerId ?? "");
  render();
  client = await join();
  trouble = "";
  client.on("place", placed);
  client.on("line", said);
  client.on("joined", (id, { name: who, node }) => { note(`${who} came, at ${node}.`); if (joined.node !== place.here) tellWhere([id]); });
  client.on("left", (id) => moved.delete(id));
  client.on("moved", ({ to }) => note(`We go on at ${new URL(to).host}.`));
  client.on("at", ({ node }, from) => { moved.set(from, String(node)); render(); });
  // Another node may run it now.
  client.on("room_restarted", async () => { note("The room was begun anew."); placed(await client.call("cluster", "place")); });
  client.on("rejoined", () => { moved.clear(); note("We are back, as a new member."); });
  client.on("error", ({ message }) => note(message));
  for (const event of ["joined", "left", "state", "rejoined"]) client.on(event, render);
  render();
}

/** Joins as soon as the node lets us in: it may have just begun. */
async function join() {
  for (;;) {
    try {
      return await connect(`/socket/${encodeURIComponent(room)}?${new URLSearchParams({ name })}`);
    } catch (error) {
      trouble = `Cannot join the room yet: ${error.message}`;
      render();
      await new Promise((resolve) => { setTimeout(resolve, AGAIN); });
    }
  }
}

function placed(told) {
  const hasMoved = place.here !== told.here;
  place = told;
  if (client.peerId !== joined.id) joined = { id: client.peerId, node: told.here };
  else if (hasMoved) tellWhere("all");
  for (const { name: node, url } of told.nodes) known.set(node, url);
  render();
}

/** Tells other members where we are: they know only where we have joined. */
function tellWhere(to) {
  client.send("at", { node: place.here }, to);
}

function said(line, from) {
  // Only the room itself says so.
  if (from !== null) return;
  lines.push(line);
  addLine(element("chat-log"), make("li", {}, make("b", {}, line.name), ` ${line.text} `, make("small", { className: "quiet" }, `line ${line.number}`)));
}

function note(text) {
  addLine(element("chat-log"), make("li", { className: "quiet" }, text));
}

function speak(event) {
  event.preventDefault();
  const text = element("chat-input").value.trim();
  if (!text || !client) return;
  try {
    client.send("say", text);
    element("chat-input").value = "";
  } catch (error) {
    note(`Not sent: ${error.message}`);
  }
}

async function order(node, fault) {
  try {
    await client.call("cluster", "fault", [node, fault]);
    note(`${node}: ${fault}.`);
  } catch (error) {
    // The node that is to pass it on may be the one.
    note(`${node}: ${fault}: ${error.message}`);
  }
}

function render() {
  const { status, here, home, nodes, members } = snapshot();
  say(element("status"), status);
  say(element("place"), here && `This page is at ${here}; ${home === here ? "so is the room" : `the room is at ${home}`}.`);
  element("faults-note").hidden = !place.faults;
  element("nodes").replaceChildren(...nodes.map(showNode));
  element("members").replaceChildren(...members.map((member) => make("li", { dataset: { peer: member.id } },
    `${member.name}${member.id === client?.peerId ? " (you)" : ""}`, make("small", { className: "quiet" }, ` at ${member.node}`))));
}

function showNode({ name: node, url, isAway }) {
  const marks = [node === place.here && "this page", node === place.home && "the room", isAway && "away"].filter(Boolean);
  const href = `${url.replace(/^ws/, "http")}${location.pathname}`;
  const link = url ? make("a", { href, target: "_blank" }, node) : make("b", {}, node);
  const faults = !place.faults ? [] : FAULTS.map(({ fault, words, title }) => {
    const button = make("button", { type: "button", title, dataset: { fault } }, words);
    button.setAttribute("aria-label", `${words} ${node}`);
    button.addEventListener("click", () => order(node, fault));
    return button;
  });
  const dataset = { node, here: node === place.here, home: node === place.home, away: isAway };
  return make("li", { dataset }, link, make("span", { className: "quiet" }, marks.join(", ")), make("span", { className: "faults" }, ...faults));
}

function words() {
  if (!client) return trouble || "Connecting…";
  if (client.state === "closed") return "The connection is closed.";
  if (client.state !== "open") return "Reconnecting…";
  const others = client.peers.size;
  return others === 0 ? "You are in. Nobody else is here yet." : `In the room with ${others} ${others === 1 ? "other" : "others"}.`;
}

function snapshot() {
  const there = new Set(place.nodes.map(({ name: node }) => node));
  const nodes = [...known].sort().map(([node, url]) => Object.freeze({ name: node, url, isAway: !there.has(node) }));
  const own = client?.peerId ? [{ id: client.peerId, name, node: place.here }] : [];
  const others = [...client?.peers ?? []].map(([id, { name: who, node }]) => ({ id, name: who, node: moved.get(id) ?? node }));
  return Object.freeze({
    status: words(), state: client?.state ?? "connecting", peerId: client?.peerId ?? null, here: place.here, home: place.home,
    nodes, members: [...own, ...others], lines: [...lines],
  });
}

const FAULTS = [
  { fault: "kill", words: "Kill", title: "Kill its process; it is started again" },
  { fault: "stop", words: "Stop", title: "Let its process stand still for 12 s" },
  { fault: "cut", words: "Cut off", title: "Let nothing pass between it and NATS for 12 s" },
  { fault: "drain", words: "Drain", title: "Let its clients go on at other nodes, and start it again" },
];
/** Time in ms before it is tried again to join. */
const AGAIN = 1_000;

// Last: everything that it uses is defined.
start();
