// Session of two clients in Node, in the room at the address in the first argument: that of examples/own-room, which admits
// who knows its word. Ends by itself, because nothing of a closed client is left. The package is the one that is installed
// beside this script.

import assert from "node:assert/strict";
import { Client, connect } from "callboard";
import { WebSocket } from "ws";

const [, , address] = process.argv;
/** All sockets, in order. @type {WebSocket[]} */
const opened = [];
const options = {
  firstDelay: 1,
  WebSocket: class extends WebSocket {
    /**
     * @param {URL} url
     * @param {string | string[]} [protocols]
     */
    constructor(url, protocols) {
      super(url, protocols);
      opened.push(this);
    }
  },
};
/**
 * Resolves with what a listener to this event is told next.
 *
 * @param {Client} client
 * @param {string} event
 * @returns {Promise<any[]>}
 */
const next = (client, event) => new Promise((told) => client.on(event, (/** @type {any[]} */ ...what) => told(what)));

await assert.rejects(connect(address.replace("sesame", "barley"), options), { name: "CallboardError", code: "refused" });

const ann = await connect(address, options);
assert(ann instanceof Client);
assert.deepEqual([ann.state, ann.peers.size], ["open", 0]);
const come = next(ann, "joined");
const ben = await connect(address, options);
assert.deepEqual(await come, [ben.peerId, {}]);
assert.deepEqual([...ben.peers.keys()], [ann.peerId]);

const guess = next(ann, "guess");
ben.send("guess", { a: "hat" });
assert.deepEqual((await guess).slice(0, 2), [{ a: "hat" }, ben.peerId]);

// A lost connection is opened again.
const [again, gone, returned] = [next(ben, "rejoined"), next(ann, "left"), next(ann, "joined")];
const before = ben.peerId;
opened.at(-1)?.terminate();
ben.send("guess", "meanwhile");
assert.deepEqual(await gone, [before]);
assert.deepEqual(await again, [ben.peerId, before]);
assert.deepEqual(await returned, [ben.peerId, {}]);
assert.notEqual(ben.peerId, before);

// What a listener throws is the program's own uncaught exception, and does not disturb the others.
const uncaught = new Promise((thrown) => process.once("uncaughtException", thrown));
ben.on("guess", () => {
  throw new Error("of the listener");
});
const heard = next(ben, "guess");
ann.send("guess", "a cat");
assert.deepEqual((await heard).slice(0, 2), ["a cat", ann.peerId]);
assert.equal((await uncaught).message, "of the listener");

assert.throws(() => ann.openPeerConnection(), ReferenceError);
const left = next(ben, "left");
const { peerId } = ann;
ann.close();
assert.deepEqual(await left, [peerId]);
assert.throws(() => ann.send("guess"), { code: "closed" });
ben.close();
console.log("all good");
