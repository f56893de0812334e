// Types that the client's API speaks of.

/** @import { CallboardError } from "./errors.js" */
/** @import { Publication } from "./publications.js" */

/**
 * @typedef {object} ConnectOptions
 * @property {string | string[]} [protocols] WebSocket subprotocols to offer
 * @property {number} [firstDelay] longest wait before the first attempt to reconnect, in ms; doubles with each.
 *   Default: 250
 * @property {number} [longestDelay] longest wait before any attempt, in ms; Firefox adds its own for WebSockets.
 *   Default: 10,000
 * @property {number} [attempts] attempts in a row that may fail before the client gives up. Default: no limit, because
 *   trying costs nothing while there is no network or no server
 * @property {number} [refusals] attempts in a row that a reachable server may refuse before the client gives up.
 *   Default: 20
 * @property {number} [queue] messages kept while there is no connection. Default: 256
 * @property {number} [joinTimeout] longest time from opening the WebSocket to having joined the room, in ms. Default:
 *   10,000
 * @property {number} [heartbeat] interval of the client's pings to the server, in ms. Default: 15,000
 * @property {WebSocketClass} [WebSocket] class of WebSockets, for a platform that has none. Default: that of the platform
 */
/** @typedef {new (url: URL, protocols?: string | string[]) => WebSocketLike} WebSocketClass such as that of npm's `ws` */
/**
 * @typedef {object} WebSocketLike what the client uses of a WebSocket
 * @property {number} readyState
 * @property {number} bufferedAmount
 * @property {((event: any) => any) | null} onopen
 * @property {((event: any) => any) | null} onmessage gets a text as a string
 * @property {((event: any) => any) | null} onclose
 * @property {((event: any) => any) | null} onerror
 * @property {(text: string) => void} send
 * @property {(code?: number) => void} close
 */
/** @typedef {Required<Omit<ConnectOptions, "WebSocket">> & Pick<ConnectOptions, "WebSocket">} Options with defaults */
/**
 * @typedef {object} PeerConnectionOptions
 * @property {MediaStream | ((connection: RTCPeerConnection) => void)} [media] media to send: a stream, with all its
 *   tracks except those whose transceiver the page has stopped, or a function that sets up each new peer connection (a
 *   lost one is replaced by a new one)
 * @property {{ audio?: number, video?: number }} [receive] sections to receive the others' media in, beside those of
 *   `media`, which can receive too. Each holds one track at a time; where the others publish more, sections are added, up
 *   to 25 of a kind. Default: none
 * @property {Record<string, RTCDataChannelInit>} [channels] data channels beside `events`, by label
 * @property {RTCIceServer[]} [iceServers] STUN and TURN servers
 * @property {boolean} [simulcast] whether pictures of `media` are sent in two or three sizes: each of the others
 *   gets the one that it shows; only where they are large enough. Default: where `receive` is given
 */
/**
 * @typedef {object} Wish for one track
 * @property {number} [height] height in pixels that is enough: a whole number. Default: as large as it is
 * @property {number} [fps] frames per second that are enough: a whole number. Default: all
 * @property {number} [priority] from 0 to 255: the higher comes first where bandwidth is scarce. Default: 0
 * @property {boolean} [pause] whether nothing of it is to be sent. Default: no
 */
/**
 * @typedef {object} Wishes for the others' pictures
 * @property {Wish} [default] for each track without a wish of its own
 * @property {Record<string, Wish>} [tracks] by the tracks' ids, as in `tracks` of {@link ClientEvents}; at most 256
 * @property {string[]} [order] ids of tracks, those first that come first where their priority is the same; at most 256
 */
/**
 * @typedef {object} Flow what of another's picture flows here
 * @property {string} track
 * @property {string} peer
 * @property {"flowing" | "waiting" | "paused" | "muted"} state `waiting`: for a key frame; `paused`: by a wish, or for want
 *   of bandwidth; `muted`: by the application on the server
 * @property {string | null} layer `rid` of the simulcast encoding that flows; null: none, or there is no simulcast
 * @property {number | null} height of what flows in pixels, if it is known
 */
/** @typedef {"camera" | "microphone" | "screen"} TrackSource what a track shows or plays */
/**
 * @typedef {object} PublishOptions
 * @property {TrackSource} [source] what the others are told that it shows or plays. Default: `camera` or `microphone`,
 *   by its kind
 * @property {any} [metadata] what else they are told of it: JSON of at most 1,024 bytes. Default: null
 */
/**
 * @typedef {object} PublishedTrack a track that another publishes
 * @property {string} track its id
 * @property {string} peer
 * @property {"audio" | "video"} kind
 * @property {boolean} muted whether its publisher or the server's application has muted it
 * @property {TrackSource | null} source what it shows or plays, if its publisher has said that
 * @property {any} metadata what else its publisher has said of it
 */
/**
 * @typedef {object} MutedTrack a track of the page that the application on the server has muted, or no longer
 * @property {string} mid of the section in which it is sent
 * @property {boolean} muted whether it is muted from now on: nothing of it is forwarded
 * @property {MediaStreamTrack | null} track what is sent there, if anything is
 * @property {Publication | null} publication the same, if it was published by itself
 */
/**
 * @typedef {object} TrackChanges
 * @property {PublishedTrack[]} added
 * @property {PublishedTrack[]} changed those that are described in another way than before
 * @property {PublishedTrack[]} removed
 */
/**
 * @typedef {object} Message a message of the application
 * @property {string} event
 * @property {any} data
 * @property {string | null} from the sender's peer id, verified by the server; null: the server itself
 * @property {"all" | string[]} to
 */
/**
 * @typedef {Readonly<Record<string, any>>} PeerMetadata public metadata of a peer, as the application on the server has
 * set it; empty if it has set none
 */
/** @typedef {"connecting" | "open" | "waiting" | "closed"} State of the connection to the server */
/** @typedef {{ reason: string, code?: number, delay?: number }} StateDetail `code`: close code of the WebSocket */
/**
 * @typedef {object} ClientEvents arguments of listeners, by event
 * @property {[peer: string, metadata: PeerMetadata]} joined
 * @property {[peer: string]} left
 * @property {[]} room_restarted the room failed and was restarted; `joined` and `left` have already reported what has
 *   changed
 * @property {[]} resumed the WebSocket was lost and reopened. What waited meanwhile comes after this; messages that the
 *   server had written into the lost one do not, but `joined` and `left` are complete
 * @property {[peerId: string, previous: string]} rejoined the connection was lost; the client has joined again, as a
 *   new peer
 * @property {[moved: { from: string, to: string }]} moved the client is connected to another address than before: the
 *   server has sent it there, without a gap, or the one to which it was sent is gone. Where its session could not be taken
 *   along, `rejoined` comes before
 * @property {[message: Message]} message any message of the application, also one named like an event here
 * @property {[error: CallboardError]} error an error that the server reports; also `gave_up` and `webrtc_gave_up`:
 *   something has failed repeatedly in the same way, and is not tried any more; `details` say what. `media_failed`: the
 *   server has given up this client's media after repeated faults; it begins again twice by itself, then after `retry`.
 *   `media_refused`: the application's policy does not let this client publish a track; `details`: its `mid` and `kind`.
 *   `move_failed`, `bad_move`, `moved_too_often`: the client stays where it is, though the server has sent it to another
 *   address
 * @property {[state: State, detail: StateDetail]} state
 * @property {[state: RTCPeerConnectionState, detail?: { reason: string }]} webrtc state of the peer connection, also of
 *   each new one; with the reason why the last one is replaced, if the server has given one
 * @property {[event: RTCTrackEvent]} track
 * @property {[peer: string, stream: MediaStream | null]} stream what another member sends through the server, audio and
 *   video in step: whenever that changes, always in the same stream; `null`: nothing any more
 * @property {[tracks: PublishedTrack[], changes: TrackChanges]} tracks all that the others publish, also what has no
 *   section yet; and what has changed
 * @property {[muted: MutedTrack]} track_muted the application on the server has muted a track of this page, or lets it be
 *   heard and seen again
 * @property {[flow: Flow]} flow whether another's picture flows, and in which layer: whenever that changes
 * @property {[peer: string | null, levels: Readonly<Record<string, number>>]} speaker the member that dominates the
 *   conversation, also while no one speaks; and those that speak, at most five, with their levels in dBov: 0 is the
 *   loudest. At most twice a second
 * @property {[label: string]} channel_open
 * @property {[label: string]} channel_closed
 * @property {[message: { channel: string, data: string | ArrayBuffer }]} data
 */
