// The page itself, but for the tiles of the others. Texts of other peers enter as text, never as markup.

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

/** Shows a button, or the one with this id, as pressed or not, with these words. */
export function press(which, pressed, words) {
  const button = typeof which === "string" ? element(which) : which;
  button.setAttribute("aria-pressed", String(pressed));
  if (button.textContent !== words) button.textContent = words;
}
