// Uses of the package's types: lines that must compile, and lines that must not.

import { CallboardError, Client, HookError, PeerConnection, Publication, connect } from "callboard";
import type { ClientEvents, ConnectOptions, Message, PeerConnectionOptions, PeerMetadata, PublishOptions, State, StateDetail, TrackSource } from "callboard";
import { WebSocket as NodeWebSocket } from "ws";

const options: ConnectOptions = { queue: 10, protocols: ["v1"], WebSocket: NodeWebSocket };
const client: Client = await connect(new URL("wss://example.org/lobby"), options);
await connect("/socket/lobby", { WebSocket });
// @ts-expect-error no such option
await connect("/socket/lobby", { que: 10 });
// @ts-expect-error no class of WebSockets
await connect("/socket/lobby", { WebSocket: Map });

client.peerId satisfies string;
client.peers satisfies ReadonlyMap<string, PeerMetadata>;
client.state satisfies State;
// @ts-expect-error it is the server that gives it
client.peerId = "another";
// @ts-expect-error only the room changes who is in it
client.peers.set("another", {});

const stop: () => void = client.on("joined", (peer, { name }) => console.log(peer.length, name));
stop();
client.on("state", (state: State, { reason, code, delay }: StateDetail) => console.log(state, reason, code, delay));
client.on("webrtc", (state, detail) => console.log(state satisfies RTCPeerConnectionState, detail?.reason));
client.on("message", (message: Message) => console.log(message.from?.length));
client.on("data", ({ channel, data }) => console.log(channel.length, typeof data === "string" ? data : data.byteLength));
client.on("error", (error) => console.log(error.code.length, error.details));
client.on("stream", (peer, stream) => console.log(peer.length, stream?.getVideoTracks().length));
client.on("tracks", (tracks) => console.log(tracks.filter(({ kind, peer }) => kind === "video" && peer !== client.peerId)));
client.on("tracks", (_, { added, changed, removed }) => console.log(added.length, changed[0]?.muted, removed[0]?.source satisfies TrackSource | null | undefined));
client.on("track_muted", ({ mid, muted, track, publication }) => console.log(mid.length, muted satisfies boolean, track?.kind, publication?.mutedByServer));
// An event of the application.
client.on("chat", (text, from, { to }) => console.log(text, from?.length, to.length));
// @ts-expect-error a peer's id is a string
client.on("left", (peer: number) => console.log(peer));
// @ts-expect-error there is no such state
client.on("state", (state) => state === "opened");
// @ts-expect-error nothing is told
client.on("resumed", (peer: string) => console.log(peer));
const told: ClientEvents["rejoined"] = ["new", "previous"];
console.log(told);

client.send("chat", { any: "JSON" });
client.send("chat", null, ["one", "two"]);
// @ts-expect-error a message has a name
client.send();

client.openPeerConnection({ media: new MediaStream(), receive: { audio: 8, video: 8 } });
// @ts-expect-error no such kind
client.openPeerConnection({ receive: { screen: 1 } });
const wanted: PeerConnectionOptions = { channels: { cursor: { ordered: false } }, media: (one) => void one.addTransceiver("audio") };
const connection: PeerConnection = client.openPeerConnection(wanted);
connection.connection.getStats();
connection.state satisfies RTCPeerConnectionState;
connection.retry();
const camera: Publication = client.publish(new MediaStream().getVideoTracks()[0], { source: "camera", metadata: { any: "JSON" } });
camera.mute();
camera.mute(!camera.muted);
await camera.replace(camera.track);
camera.unpublish();
const unwatch: () => void = client.watch(document.createElement("video"), ["picture", "sound"]);
unwatch();
client.watch(document.createElement("audio"), "sound");
// @ts-expect-error it plays nothing
client.watch(document.createElement("div"), "picture");
// @ts-expect-error no such source
client.publish(camera.track, { source: "film" } satisfies PublishOptions);
// @ts-expect-error it is muted by a call
camera.muted = true;
// @ts-expect-error no part of the API
connection.renew();
// @ts-expect-error no part of the API
client.join;
client.sendData("cursor", "1 2");
// @ts-expect-error text alone
client.sendData("cursor", new Uint8Array(1));

try {
  const answer: number = await client.call("chess", "move", ["e2", "e4"], { timeout: 1_000, signal: AbortSignal.timeout(500) });
  console.log(answer);
} catch (error) {
  if (error instanceof HookError) console.log(error.error.length, error.code, error.details);
  else if (error instanceof CallboardError) console.log(error.code);
}
client.register("add", (a: number, b: number) => a + b);
// @ts-expect-error no function
client.register("add", 3);
