// The page itself: everything that touches an element. Texts of other peers enter as text, never as markup.

export const element = (id) => document.getElementById(id);

export function showStatus(status, words) {
  const line = element("status");
  line.dataset.status = status;
  if (line.textContent !== words) line.textContent = words;
}

/** @param {{id: string, name: string, state: string}[]} others */
export function showPeople(ownName, others) {
  const row = ({ id, name, state }) => {
    const item = document.createElement("li");
    if (id) item.dataset.peer = id;
    for (const text of [name, state]) item.append(Object.assign(document.createElement("span"), { textContent: text }));
    return item;
  };
  element("people").replaceChildren(...(ownName ? [row({ name: ownName, state: "you" })] : []), ...others.map(row));
}

/** Shows one tile per other peer; tiles that stay are not touched, so their pictures do not flicker. */
export function showTiles(others) {
  const stage = element("stage");
  const tiles = new Map([...stage.querySelectorAll(".tile:not(.own)")].map((tile) => [tile.dataset.peer, tile]));
  for (const { id, name, state } of others) {
    const tile = tiles.get(id) ?? newTile(id);
    tiles.delete(id);
    tile.querySelector(".name").textContent = name;
    tile.querySelector(".badge").textContent = state === "connected" ? "" : state;
  }
  for (const tile of tiles.values()) {
    tile.querySelector("video").srcObject = null;
    tile.remove();
  }
  stage.classList.toggle("company", others.length > 0);
}

function newTile(id) {
  const tile = document.createElement("figure");
  tile.className = "tile";
  tile.dataset.peer = id;
  const video = document.createElement("video");
  video.dataset.peer = id;
  video.autoplay = true;
  video.playsInline = true;
  const caption = document.createElement("figcaption");
  for (const name of ["name", "badge"]) caption.append(Object.assign(document.createElement("span"), { className: name }));
  tile.append(video, caption);
  element("stage").insertBefore(tile, element("login-form"));
  return tile;
}

export async function play(id, stream) {
  const video = document.querySelector(`video[data-peer="${CSS.escape(id)}"]`);
  if (!video || video.srcObject === stream) return;
  video.srcObject = stream;
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError") return;
    // The browser requires a click before it plays sound: pictures first, and a button for the rest.
    video.muted = true;
    element("sound").hidden = false;
    await video.play().catch(() => {});
  }
}

export function soundOn() {
  for (const video of document.querySelectorAll("video[data-peer]")) {
    video.muted = false;
    video.play().catch(() => {});
  }
  element("sound").hidden = true;
}

export function showLocal({ stream, kind, note }) {
  element("local-video").srcObject = stream;
  element("local-tile").hidden = false;
  element("local-tile").classList.toggle("synthetic", kind === "synthetic" || note.includes("No camera"));
  element("media-note").textContent = note;
}

/** Adds a line to the chat; without a name, a remark of the page itself. */
export function log(name, text) {
  if (name) append("", Object.assign(document.createElement("b"), { textContent: name }), text);
  else append("note", text);
}

/** Adds a remark on another peer, which may not have sent its name yet: see `rename`. */
export function remark(id, name, words) {
  const who = Object.assign(document.createElement("span"), { textContent: name });
  who.dataset.peer = id;
  append("note", who, ` ${words}`);
}

/** Shows one name for one peer, also in the remarks that came before it was known. */
export function rename(id, name) {
  for (const who of document.querySelectorAll(`#chat-log [data-peer="${CSS.escape(id)}"]`)) who.textContent = name;
}

function append(kind, ...parts) {
  const line = Object.assign(document.createElement("li"), { className: kind });
  line.append(...parts);
  const chat = element("chat-log");
  chat.append(line);
  while (chat.children.length > LINES_KEPT) chat.firstChild.remove();
  chat.scrollTop = chat.scrollHeight;
}

export function showLogin(visible) {
  element("login-form").hidden = !visible;
  if (visible) element(element("username").value ? "password" : "username").focus();
}

/** Shows the last button, which leaves or comes back; without words it is hidden. */
export function showLeave(words, leaves) {
  const button = element("leave");
  button.textContent = words;
  button.hidden = !words;
  button.className = leaves ? "danger" : "primary";
}

export function allowChat(allowed) {
  element("chat-input").disabled = element("chat-send").disabled = !allowed;
}

const LINES_KEPT = 500;
