/**
 * Callboard's client for browsers: a room, a peer connection to the server, and calls in both directions, all over one
 * connection that is reopened automatically. It needs no build step, and nothing but a browser of 2022 or later. The
 * README of the crate describes the protocol.
 *
 * ```js
 * import { connect } from "/callboard.js";
 *
 * const client = await connect("/socket/lobby");
 * client.on("joined", (peer, { name }) => console.log(name, "came:", client.peers.size, "others are here"));
 * client.on("chat", (text, from) => console.log(from, "says", text));
 * client.send("chat", "Hello, everyone");
 *
 * client.openPeerConnection({ channels: { cursor: { ordered: false, maxRetransmits: 0 } } });
 * client.on("data", ({ channel, data }) => console.log(channel, data));
 * client.sendData("cursor", "12 34");
 *
 * client.register("local_time", () => new Date().toString());
 * console.log(await client.call("chess", "move", ["e2", "e4"]));
 * ```
 */

import { Client } from "./client.js";

/** @import { ConnectOptions } from "./types.js" */

export { CallboardError, HookError } from "./errors.js";
export { Client } from "./client.js";
export { PeerConnection } from "./peer_connection.js";
export { Publication } from "./publications.js";

/**
 * Joins a room. Connections that are lost later are reopened, but if this first one fails, the caller gets the error at
 * once.
 *
 * @param {string | URL} url of the room's WebSocket; may be relative, and may have `http:` instead of `ws:`
 * @param {ConnectOptions} [options]
 * @returns {Promise<Client>} resolves when the room has admitted the client
 * @throws {CallboardError} `could_not_join_room`: the room has rejected the client; `details` say why. `refused`: there
 *   is no WebSocket; browsers do not show the HTTP status to a page, so the cause may be 401 or 404 as well as an
 *   unreachable server. `timeout`: there was no answer.
 */
export async function connect(url, options = {}) {
  return Client.join(url, options);
}
