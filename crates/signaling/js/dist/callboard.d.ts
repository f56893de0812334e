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
export function connect(url: string | URL, options?: ConnectOptions): Promise<Client>;
/**
 * Error with a `code`: one of those documented below, or that of a server's error: its description as in
 * `no_such_peer`.
 */
export class CallboardError extends Error {
    /**
     * @param {string} code
     * @param {string} message
     * @param {any} [details]
     */
    constructor(code: string, message: string, details?: any);
    code: string;
    details: any;
}
/**
 * Error of a call that the other side has answered with an error, which is in `error`, such as `unknown_function`. Its
 * `code` is `hook_error`. For `invalid_args`, `details` hold the index of the `argument`, from 0, and in `detail` what
 * was expected; for the function's own errors, what it has given.
 */
export class HookError extends CallboardError {
    /**
     * @param {string} error
     * @param {{ argument?: any, detail?: any, details?: any }} [frame]
     */
    constructor(error: string, { argument, detail, details }?: {
        argument?: any;
        detail?: any;
        details?: any;
    });
    error: string;
}
/** A track that the page publishes. Created by {@link Client#publish}. */
export class Publication {
    /**
     * @param {MediaStreamTrack} track
     * @param {{ source: TrackSource, metadata: any }} told
     * @param {{
     *   muted: (publication: Publication) => void,
     *   replace: (publication: Publication, track: MediaStreamTrack) => Promise<void>,
     *   unpublish: (publication: Publication) => void,
     * }} host
     */
    constructor(track: MediaStreamTrack, { source, metadata }: {
        source: TrackSource;
        metadata: any;
    }, host: {
        muted: (publication: Publication) => void;
        replace: (publication: Publication, track: MediaStreamTrack) => Promise<void>;
        unpublish: (publication: Publication) => void;
    });
    /** What it shows or plays, as the others are told. @readonly @type {TrackSource} */
    readonly source: TrackSource;
    /** What else the others are told of it. @readonly @type {any} */
    readonly metadata: any;
    /** The track that is sent. */
    get track(): MediaStreamTrack;
    /** Whether it is muted. */
    get muted(): boolean;
    /**
     * Whether the application on the server has muted it: nothing of it is forwarded then, whether or not the page has
     * {@link muted} it as well.
     */
    get mutedByServer(): boolean;
    /**
     * Notes whether the application on the server has muted it.
     *
     * @internal
     * @param {boolean} muted
     */
    handleMuted(muted: boolean): void;
    /**
     * Mutes the track, or ends that. While it is muted, it is not `enabled`, the server forwards nothing of it, and the
     * others are told.
     *
     * @param {boolean} [muted]
     */
    mute(muted?: boolean): void;
    /**
     * Sends another track of the same kind in its place, such as another camera. Nothing is told to the others.
     *
     * @param {MediaStreamTrack} track
     * @returns {Promise<void>} rejected with the browser's reason; then the track before is sent on
     */
    replace(track: MediaStreamTrack): Promise<void>;
    /** Sends it no more. The track is not stopped. */
    unpublish(): void;
    #private;
}
/** Peer connection to the server, and each that replaces it. Created by {@link Client#openPeerConnection}. */
export class PeerConnection {
    /**
     * @param {{
     *   readonly connection: RTCPeerConnection,
     *   readonly state: RTCPeerConnectionState,
     *   readonly closed: boolean,
     *   openChannel(label: string): RTCDataChannel | undefined,
     *   close(): void,
     *   retry(): void,
     * }} link
     */
    constructor(link: {
        readonly connection: RTCPeerConnection;
        readonly state: RTCPeerConnectionState;
        readonly closed: boolean;
        openChannel(label: string): RTCDataChannel | undefined;
        close(): void;
        retry(): void;
    });
    /** The browser's current peer connection: another one after a loss for good. */
    get connection(): RTCPeerConnection;
    /** State of the current connection; `new` while a lost one is being replaced, `failed` after `webrtc_gave_up`. */
    get state(): RTCPeerConnectionState;
    /** Whether it was closed for good. */
    get closed(): boolean;
    /**
     * Returns the data channel with this label, if it is open.
     *
     * @param {string} label
     * @returns {RTCDataChannel | undefined}
     */
    openChannel(label: string): RTCDataChannel | undefined;
    /** Closes the connection for good, here and on the server. */
    close(): void;
    /** Tries again, after `webrtc_gave_up` or `media_failed`. */
    retry(): void;
    #private;
}
/** A member of a room. Created by {@link connect}. */
export class Client {
    /**
     * Implements {@link connect}.
     *
     * @param {string | URL} url
     * @param {ConnectOptions} options
     * @returns {Promise<Client>}
     */
    static join(url: string | URL, options: ConnectOptions): Promise<Client>;
    /**
     * @param {string | URL} url
     * @param {ConnectOptions} options
     */
    constructor(url: string | URL, options: ConnectOptions);
    /** Number of frames and messages that were not understood, and were ignored. */
    malformed: number;
    /** Id of this peer in the room. Changes with `rejoined`. */
    get peerId(): string;
    /**
     * The other members of the room: their public metadata by their ids.
     *
     * @returns {ReadonlyMap<string, PeerMetadata>}
     */
    get peers(): ReadonlyMap<string, PeerMetadata>;
    /** Address of the WebSocket to which the client is connected, or will be. Changes with `moved`. */
    get url(): string;
    /** @returns {State} */
    get state(): State;
    /**
     * Adds a listener to one of {@link ClientEvents}, or to a message of the application by its name.
     *
     * @template {keyof ClientEvents} Name
     * @overload
     * @param {Name} event
     * @param {(...told: ClientEvents[Name]) => void} listener
     * @returns {() => void} stops listening
     */
    on<Name extends keyof ClientEvents>(event: Name, listener: (...told: ClientEvents[Name]) => void): () => void;
    /**
     * @template {string} Other
     * @overload
     * @param {Other extends keyof ClientEvents ? never : Other} event
     * @param {(data: any, from: string | null, message: Message) => void} listener
     * @returns {() => void} stops listening
     */
    on<Other extends string>(event: Other extends keyof ClientEvents ? never : Other, listener: (data: any, from: string | null, message: Message) => void): () => void;
    /**
     * Sends a message through the room. While there is no connection, the message is queued.
     *
     * @param {string} event
     * @param {any} [data] any JSON
     * @param {string | string[]} [to] all other members, one peer, or several
     * @returns {void}
     * @throws {CallboardError} `queue_full`: too many messages are queued. `too_large`: the server has closed a
     *   connection over a smaller one. `closed`
     */
    send(event: string, data?: any, to?: string | string[]): void;
    /**
     * Opens a peer connection to the server. It is reopened automatically whenever it is lost, until it is closed.
     *
     * @param {PeerConnectionOptions} [options]
     * @returns {PeerConnection}
     * @throws {CallboardError} `already_open`: a client has one peer connection at a time. `closed`
     */
    openPeerConnection({ media, receive, simulcast, channels, iceServers }?: PeerConnectionOptions): PeerConnection;
    /**
     * Publishes a track to the other members, through the server: over the peer connection, which must be open, and over
     * each that replaces it.
     *
     * @param {MediaStreamTrack} track
     * @param {PublishOptions} [options]
     * @returns {Publication}
     * @throws {CallboardError} `no_peer_connection`: none is open. `too_large`: the metadata. `closed`
     */
    publish(track: MediaStreamTrack, options?: PublishOptions): Publication;
    /**
     * Says what the page wishes to receive of the others' pictures, in place of all that it has wished before; also over
     * connections that replace this one.
     *
     * @param {Wishes} wishes
     */
    wish(wishes: Wishes): void;
    /**
     * Shows tracks of the others in an element, as long as they are there, and wishes for their pictures by the size and the
     * sight of the element: as high as it is, and nothing while it cannot be seen. Where the page wishes something else for
     * a track by {@link Client#wish}, that holds. Several elements may show one track. Called again for an element, it
     * shows other tracks in place of those.
     *
     * The element gets a stream while something of it flows (`srcObject`), and plays it if it has `autoplay`.
     *
     * @param {HTMLMediaElement} element
     * @param {string | string[]} tracks ids of tracks, as in `tracks` of {@link ClientEvents}: one, or a picture and the
     *   sound that goes with it
     * @returns {() => void} ends it, unless `watch` was called for the element again; it ends by itself when the element
     *   has left the page and the others publish none of the tracks any more
     */
    watch(element: HTMLMediaElement, tracks: string | string[]): () => void;
    /**
     * Adds a data channel to the peer connection, and to each that replaces it.
     *
     * @param {string} label
     * @param {RTCDataChannelInit} [init]
     * @returns {() => void} closes it
     * @throws {CallboardError} `channel_exists`
     */
    channel(label: string, init?: RTCDataChannelInit): () => void;
    /**
     * Sends to the peer's code on the server: over the data channel with this label if it is open, else over the
     * WebSocket. When one takes over from the other, messages may overtake each other.
     *
     * @param {string} label
     * @param {string} text
     * @returns {void}
     * @throws {CallboardError} `queue_full`: the other side reads too slowly, or too many messages are queued.
     *   `too_large`: the data channel takes no message as large as this. `closed`
     */
    sendData(label: string, text: string): void;
    /**
     * Calls a function of the server: over the data channel `events` if it is open, else over the WebSocket.
     *
     * A call is sent once and never again, because the server may have run it. If its data channel is lost, the answer
     * comes over the WebSocket; if that is lost, after the session was resumed. If the session cannot be resumed, or
     * nothing can be sent in the first place, the call fails with `disconnected`.
     *
     * @param {string} plugin
     * @param {string} fn
     * @param {any[]} [args]
     * @param {{ timeout?: number, signal?: AbortSignal }} [options] `timeout` in ms: 10,000
     * @returns {Promise<any>}
     * @throws {HookError} the server's error
     * @throws {CallboardError} `timeout`, `disconnected`, `closed`; if the signal is aborted, its reason. After a timeout
     *   or an abort the server is told to cancel the call.
     */
    call(plugin: string, fn: string, args?: any[], { timeout, signal }?: {
        timeout?: number;
        signal?: AbortSignal;
    }): Promise<any>;
    /**
     * Registers a function that the server may call. Its result is the answer, and an exception becomes an error's text.
     *
     * @param {string} fn
     * @param {(...args: any[]) => any} handler may be async
     * @returns {() => void} removes it
     */
    register(fn: string, handler: (...args: any[]) => any): () => void;
    /** Leaves the room for good. No listener is called after the `state` that reports it. */
    close(): void;
    #private;
}
export type ConnectOptions = {
    /**
     * WebSocket subprotocols to offer
     */
    protocols?: string | string[] | undefined;
    /**
     * longest wait before the first attempt to reconnect, in ms; doubles with each.
     * Default: 250
     */
    firstDelay?: number | undefined;
    /**
     * longest wait before any attempt, in ms; Firefox adds its own for WebSockets.
     * Default: 10,000
     */
    longestDelay?: number | undefined;
    /**
     * attempts in a row that may fail before the client gives up. Default: no limit, because
     * trying costs nothing while there is no network or no server
     */
    attempts?: number | undefined;
    /**
     * attempts in a row that a reachable server may refuse before the client gives up.
     * Default: 20
     */
    refusals?: number | undefined;
    /**
     * messages kept while there is no connection. Default: 256
     */
    queue?: number | undefined;
    /**
     * longest time from opening the WebSocket to having joined the room, in ms. Default:
     * 10,000
     */
    joinTimeout?: number | undefined;
    /**
     * interval of the client's pings to the server, in ms. Default: 15,000
     */
    heartbeat?: number | undefined;
    /**
     * class of WebSockets, for a platform that has none. Default: that of the platform
     */
    WebSocket?: WebSocketClass | undefined;
};
/**
 * such as that of npm's `ws`
 */
export type WebSocketClass = new (url: URL, protocols?: string | string[]) => WebSocketLike;
/**
 * what the client uses of a WebSocket
 */
export type WebSocketLike = {
    readyState: number;
    bufferedAmount: number;
    onopen: ((event: any) => any) | null;
    /**
     * gets a text as a string
     */
    onmessage: ((event: any) => any) | null;
    onclose: ((event: any) => any) | null;
    onerror: ((event: any) => any) | null;
    send: (text: string) => void;
    close: (code?: number) => void;
};
/**
 * with defaults
 */
export type Options = Required<Omit<ConnectOptions, "WebSocket">> & Pick<ConnectOptions, "WebSocket">;
export type PeerConnectionOptions = {
    /**
     * media to send: a stream, with all its
     * tracks except those whose transceiver the page has stopped, or a function that sets up each new peer connection (a
     * lost one is replaced by a new one)
     */
    media?: MediaStream | ((connection: RTCPeerConnection) => void) | undefined;
    /**
     * sections to receive the others' media in, beside those of
     * `media`, which can receive too. Each holds one track at a time; where the others publish more, sections are added, up
     * to 25 of a kind. Default: none
     */
    receive?: {
        audio?: number;
        video?: number;
    } | undefined;
    /**
     * data channels beside `events`, by label
     */
    channels?: Record<string, RTCDataChannelInit> | undefined;
    /**
     * STUN and TURN servers
     */
    iceServers?: RTCIceServer[] | undefined;
    /**
     * whether pictures of `media` are sent in two or three sizes: each of the others
     * gets the one that it shows; only where they are large enough. Default: where `receive` is given
     */
    simulcast?: boolean | undefined;
};
/**
 * for one track
 */
export type Wish = {
    /**
     * height in pixels that is enough: a whole number. Default: as large as it is
     */
    height?: number | undefined;
    /**
     * frames per second that are enough: a whole number. Default: all
     */
    fps?: number | undefined;
    /**
     * from 0 to 255: the higher comes first where bandwidth is scarce. Default: 0
     */
    priority?: number | undefined;
    /**
     * whether nothing of it is to be sent. Default: no
     */
    pause?: boolean | undefined;
};
/**
 * for the others' pictures
 */
export type Wishes = {
    /**
     * for each track without a wish of its own
     */
    default?: Wish | undefined;
    /**
     * by the tracks' ids, as in `tracks` of {@link ClientEvents}; at most 256
     */
    tracks?: Record<string, Wish> | undefined;
    /**
     * ids of tracks, those first that come first where their priority is the same; at most 256
     */
    order?: string[] | undefined;
};
/**
 * what of another's picture flows here
 */
export type Flow = {
    track: string;
    peer: string;
    /**
     * `waiting`: for a key frame; `paused`: by a wish, or for want
     * of bandwidth; `muted`: by the application on the server
     */
    state: "flowing" | "waiting" | "paused" | "muted";
    /**
     * `rid` of the simulcast encoding that flows; null: none, or there is no simulcast
     */
    layer: string | null;
    /**
     * of what flows in pixels, if it is known
     */
    height: number | null;
};
/**
 * what a track shows or plays
 */
export type TrackSource = "camera" | "microphone" | "screen";
export type PublishOptions = {
    /**
     * what the others are told that it shows or plays. Default: `camera` or `microphone`,
     * by its kind
     */
    source?: TrackSource | undefined;
    /**
     * what else they are told of it: JSON of at most 1,024 bytes. Default: null
     */
    metadata?: any;
};
/**
 * a track that another publishes
 */
export type PublishedTrack = {
    /**
     * its id
     */
    track: string;
    peer: string;
    kind: "audio" | "video";
    /**
     * whether its publisher or the server's application has muted it
     */
    muted: boolean;
    /**
     * what it shows or plays, if its publisher has said that
     */
    source: TrackSource | null;
    /**
     * what else its publisher has said of it
     */
    metadata: any;
};
/**
 * a track of the page that the application on the server has muted, or no longer
 */
export type MutedTrack = {
    /**
     * of the section in which it is sent
     */
    mid: string;
    /**
     * whether it is muted from now on: nothing of it is forwarded
     */
    muted: boolean;
    /**
     * what is sent there, if anything is
     */
    track: MediaStreamTrack | null;
    /**
     * the same, if it was published by itself
     */
    publication: Publication | null;
};
export type TrackChanges = {
    added: PublishedTrack[];
    /**
     * those that are described in another way than before
     */
    changed: PublishedTrack[];
    removed: PublishedTrack[];
};
/**
 * a message of the application
 */
export type Message = {
    event: string;
    data: any;
    /**
     * the sender's peer id, verified by the server; null: the server itself
     */
    from: string | null;
    to: "all" | string[];
};
/**
 * public metadata of a peer, as the application on the server has
 * set it; empty if it has set none
 */
export type PeerMetadata = Readonly<Record<string, any>>;
/**
 * of the connection to the server
 */
export type State = "connecting" | "open" | "waiting" | "closed";
/**
 * `code`: close code of the WebSocket
 */
export type StateDetail = {
    reason: string;
    code?: number;
    delay?: number;
};
/**
 * arguments of listeners, by event
 */
export type ClientEvents = {
    joined: [peer: string, metadata: PeerMetadata];
    left: [peer: string];
    /**
     * the room failed and was restarted; `joined` and `left` have already reported what has
     * changed
     */
    room_restarted: [];
    /**
     * the WebSocket was lost and reopened. What waited meanwhile comes after this; messages that the
     * server had written into the lost one do not, but `joined` and `left` are complete
     */
    resumed: [];
    /**
     * the connection was lost; the client has joined again, as a
     * new peer
     */
    rejoined: [peerId: string, previous: string];
    /**
     * the client is connected to another address than before: the
     * server has sent it there, without a gap, or the one to which it was sent is gone. Where its session could not be taken
     * along, `rejoined` comes before
     */
    moved: [moved: {
        from: string;
        to: string;
    }];
    /**
     * any message of the application, also one named like an event here
     */
    message: [message: Message];
    /**
     * an error that the server reports; also `gave_up` and `webrtc_gave_up`:
     * something has failed repeatedly in the same way, and is not tried any more; `details` say what. `media_failed`: the
     * server has given up this client's media after repeated faults; it begins again twice by itself, then after `retry`.
     * `media_refused`: the application's policy does not let this client publish a track; `details`: its `mid` and `kind`.
     * `move_failed`, `bad_move`, `moved_too_often`: the client stays where it is, though the server has sent it to another
     * address
     */
    error: [error: CallboardError];
    state: [state: State, detail: StateDetail];
    /**
     * state of the peer connection, also of
     * each new one; with the reason why the last one is replaced, if the server has given one
     */
    webrtc: [state: RTCPeerConnectionState, detail?: {
        reason: string;
    }];
    track: [event: RTCTrackEvent];
    /**
     * what another member sends through the server, audio and
     * video in step: whenever that changes, always in the same stream; `null`: nothing any more
     */
    stream: [peer: string, stream: MediaStream | null];
    /**
     * all that the others publish, also what has no
     * section yet; and what has changed
     */
    tracks: [tracks: PublishedTrack[], changes: TrackChanges];
    /**
     * the application on the server has muted a track of this page, or lets it be
     * heard and seen again
     */
    track_muted: [muted: MutedTrack];
    /**
     * whether another's picture flows, and in which layer: whenever that changes
     */
    flow: [flow: Flow];
    /**
     * the member that dominates the
     * conversation, also while no one speaks; and those that speak, at most five, with their levels in dBov: 0 is the
     * loudest. At most twice a second
     */
    speaker: [peer: string | null, levels: Readonly<Record<string, number>>];
    channel_open: [label: string];
    channel_closed: [label: string];
    data: [message: {
        channel: string;
        data: string | ArrayBuffer;
    }];
};
/**
 * what the server asks for
 */
export type Order = {
    to: URL;
    /**
     * the session there; null: join as a new peer
     */
    resume: {
        token: string;
        milliseconds: number;
    } | null;
    /**
     * whether the peer connection is to be opened anew there
     */
    replace: boolean;
};
