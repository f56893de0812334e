// The page of a room: who is in it and at which node, where its home is, and buttons for what a node may suffer.
//
// window.cluster is a frozen snapshot, made anew at each reading:
//   { status, state, peerId, here, home, answers, inCluster, nodes, members, lines, call }
//   answers:  whether our node has answered lately; inCluster: whether it reaches the others, as far as it has said
//   nodes:    [{ name, url, isAway }]; members: [{ id, name, node }], ourselves first
//   lines:    [{ number, name, text }] of the chat; the number is counted by the room
//   call:     { state, pictures: [{ id, width, time }] } of the peer connection and the others; null without ?call

import { connect, HookError } from "/callboard.js";
import { Call } from "./call.js";
import { Nodes } from "./nodes.js";
import { startTrees } from "./trees.js";
import { addLine, element, make, say } from "./view.js";

const room = decodeURIComponent(location.pathname.slice(1));
const query = new URLSearchParams(location.search);
const name = query.get("name") || "guest";
/** Whether we have sound and pictures with others. */
const calls = query.has("call");
let client = null;
/** @type {Call | null} */
let call = null;
let trouble = "";
/** Where we are, as the node says. */
let place = { here: "", home: "", nodes: [], in_cluster: true, faults: null };
/** When we asked our node first of the questions that it has not answered. @type {number | null} */
let asked = null;
/** Whether a question is under way. */
let asking = false;
/** Other nodes that do not answer ours. @type {Set<string>} */
let silent = new Set();
/** Our id, and the node at which it has joined: the others know that. */
let joined = { id: "", node: "" };
/** Nodes at which other members are now that have come to another one, by their ids. @type {Map<string, string>} */
const moved = new Map();
/** Addresses of all nodes that there were, by name. @type {Map<string, string>} */
const known = new Map();
const lines = [];
let membersShown = "";

async function start() {
  Object.defineProperty(window, "cluster", { get: snapshot });
  element("room").textContent = room;
  document.title = `${room} · Cluster`;
  element("call").hidden = !calls;
  element("call-link").href = `?${new URLSearchParams([...query, ["call", ""]])}`;
  element("chat-form").addEventListener("submit", speak);
  addEventListener("pagehide", () => client?.close());
  addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); });
  startTrees({
    own: () => client?.peerId ?? "",
    // A page that cannot come back looks nevertheless.
    isAway: () => trouble !== "" || (client !== null && client.state !== "open" && client.state !== "closed"),
    hasFaults: () => place.faults !== null,
    silent: (nodes) => { silent = nodes; render(); },
  });
  render();
  client = await join();
  trouble = "";
  setInterval(look, EVERY);
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
  if (calls) call = await Call.start(client, { label: name, synthetic: query.has("synthetic"), nameOf });
}

function nameOf(peer) {
  return String(client.peers.get(peer)?.name ?? "");
}

/** Joins as soon as the node lets us in: it may have just begun. */
async function join() {
  for (;;) {
    try {
      return await connect(`/${calls ? "call" : "socket"}/${encodeURIComponent(room)}?${new URLSearchParams({ name })}`);
    } catch (error) {
      trouble = `Cannot join the room yet: ${error.message}`;
      render();
      await new Promise((resolve) => { setTimeout(resolve, AGAIN); });
    }
  }
}

/** Asks our node where we are, again and again: its answer is a sign of life too. */
function look() {
  if (client.state !== "open") answered();
  else if (!asking) ask();
  render();
}

async function ask() {
  asking = true;
  asked ??= performance.now();
  try {
    placed(await client.call("cluster", "place"));
    answered();
  } catch (error) {
    if (error instanceof HookError) answered();
  } finally {
    asking = false;
  }
}

function answered() {
  asked = null;
}

/** Returns whether our node answers: it does not while it stands still, or cannot be reached. */
function answers() {
  return asked === null || performance.now() - asked < SILENT;
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
  const { here, faults } = place;
  if (client?.state !== "open" || !answers()) return note(`Not ordered: ${here} does not answer, which would pass it on.`);
  // The answer may not come: the node that passes it on may be the one.
  const called = client.call("cluster", "fault", [node, fault]);
  note(list.ordered(node, fault, faults));
  render();
  try {
    await called;
  } catch (error) {
    if (node === here && !(error instanceof HookError)) return;
    list.refused(node);
    note(`${node}: ${fault}: ${error.message}`);
    render();
  }
}

function render() {
  const { status, here, home, nodes, members } = snapshot();
  say(element("status"), status);
  say(element("place"), here && `This page is at ${here}; ${home === here ? "so is the room" : `the room is at ${home}`}.`);
  // Pages in a call go to the room's node, at an address of its own.
  element("call-link").hidden = calls || nodes.length === 0 || nodes.some(({ url }) => !url);
  list.show(nodes.map(placeOf), place.faults);
  const shown = members.map(({ id, name: who, node }) => ({ id, who: `${who}${id === client?.peerId ? " (you)" : ""}`, node }));
  if (JSON.stringify(shown) === membersShown) return;
  membersShown = JSON.stringify(shown);
  element("members").replaceChildren(...shown.map(({ id, who, node }) => make("li", { dataset: { peer: id } },
    who, ...(node ? [make("small", { className: "quiet" }, ` at ${node}`)] : []))));
}

/** Adds to a node what it is for this page. */
function placeOf({ name: node, url, isAway }) {
  const [isHere, isHome] = [node === place.here, node === place.home];
  const doesNotAnswer = isHere ? !answers() : silent.has(node);
  const marks = [isHere && "this page", isHome && "the room", isAway ? "away" : doesNotAnswer && "does not answer"].filter(Boolean);
  return { name: node, url, marks, here: isHere, home: isHome, isAway };
}

function words() {
  if (!client) return trouble || "Connecting…";
  if (client.state === "closed") return "The connection is closed.";
  // It may not have said yet which one it is.
  const here = place.here || "the node";
  if (client.state !== "open") return `The connection to ${here} was lost. Reconnecting…`;
  if (!answers()) return `${here} does not answer. What you write now may not arrive.`;
  if (!place.in_cluster) return `${place.here} is cut off from the other nodes. What you write now may not reach them.`;
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
    answers: answers(), inCluster: place.in_cluster, nodes, members: [...own, ...others], lines: [...lines], call: call?.facts ?? null,
  });
}

/** Time in ms between two questions to our node. */
const EVERY = 500;
/** Time in ms without an answer that counts as silence: a node that only passes on an order, or restarts a room, is quicker. */
const SILENT = 1_500;
/** Time in ms before it is tried again to join. */
const AGAIN = 1_000;

// Last: everything that it uses is defined.
const list = new Nodes(order);
start();
