// A chat in plain DOM: a list of lines, a form with a field `text`, and a status.

import { CallboardError, connect } from "callboard";

/**
 * Joins a room, and keeps these elements up to date.
 *
 * @param {string} url of the room's WebSocket
 * @param {{ lines: HTMLElement, form: HTMLFormElement, status: HTMLElement }} elements
 * @returns {Promise<import("callboard").Client>}
 */
export async function chat(url, { lines, form, status }) {
  const client = await connect(url);

  /** @param {string} text */
  const say = (text) => lines.append(Object.assign(document.createElement("li"), { textContent: text }));
  const show = () => (status.textContent = client.state === "open" ? `${client.peers.size} others are here` : client.state);
  show();

  client.on("joined", show);
  client.on("left", show);
  client.on("state", show);
  client.on("chat", (text, from) => say(`${from}: ${text}`));
  client.on("error", (error) => say(error.message));

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = String(new FormData(form).get("text"));
    try {
      // While there is no connection, the message waits for the next one.
      client.send("chat", text);
      say(`me: ${text}`);
      form.reset();
    } catch (error) {
      // `queue_full` or `closed`
      say(error instanceof CallboardError ? error.message : String(error));
    }
  });
  return client;
}
