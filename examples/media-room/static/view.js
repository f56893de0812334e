// The page itself: everything that touches an element. Texts of other peers enter as text, never as markup.

export const element = (id) => document.getElementById(id);

export function showStatus(words) {
  const line = element("status");
  if (line.textContent !== words) line.textContent = words;
}

export function showOwn({ stream, kind, note, sentence }) {
  element("own").srcObject = stream;
  element("own-state").textContent = note;
  element("own").parentElement.classList.toggle("mirrored", kind === "camera");
  element("note").textContent = sentence;
  element("note").hidden = !sentence;
}

/**
 * Shows one tile for each of the others. Tiles that stay are not touched, so their pictures do not flicker.
 *
 * @param {{id: string, name: string, state: string, stream: MediaStream | null}[]} others
 */
export function showOthers(others) {
  const tiles = new Map([...document.querySelectorAll("[data-peer]")].map((video) => [video.dataset.peer, video]));
  for (const { id, name, state, stream } of others) {
    const video = tiles.get(id) ?? newTile(id);
    tiles.delete(id);
    const [who, how] = video.nextSibling.children;
    who.textContent = name;
    how.textContent = state;
    if (video.srcObject !== stream) play(video, stream);
  }
  for (const video of tiles.values()) {
    video.srcObject = null;
    video.parentElement.remove();
  }
}

function newTile(id) {
  const tile = Object.assign(document.createElement("figure"), { className: "tile" });
  const video = Object.assign(document.createElement("video"), { autoplay: true, playsInline: true });
  video.dataset.peer = id;
  const caption = document.createElement("figcaption");
  caption.append(...[0, 1, 2].map(() => document.createElement("span")));
  tile.append(video, caption);
  element("grid").append(tile);
  return video;
}

function play(video, stream) {
  video.srcObject = stream;
  if (!stream) return;
  video.play().catch((error) => {
    if (error.name !== "NotAllowedError") return;
    // The browser requires a click before it plays sound: pictures first, and a button for the rest.
    video.muted = true;
    element("sound").hidden = false;
    video.play().catch(() => {});
  });
}

export function soundOn() {
  for (const video of document.querySelectorAll("video[data-peer]")) {
    video.muted = false;
    video.play().catch(() => {});
  }
  element("sound").hidden = true;
}

/** Shows a button as pressed or not, with these words. */
export function press(id, pressed, words) {
  element(id).setAttribute("aria-pressed", String(pressed));
  element(id).textContent = words;
}
