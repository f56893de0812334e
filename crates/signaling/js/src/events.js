// Events of the server, and what each does.

import { CallboardError, serverError } from "./errors.js";
import { misplaced, object, text } from "./frames.js";

/** @import { Link } from "./link.js" */
/** @import { Members } from "./members.js" */
/** @import { Flow, PublishedTrack } from "./types.js" */

/**
 * Returns what each event of the server does, by its name. It throws if the data do not have the form that the event
 * requires.
 *
 * @param {{
 *   members: Members,
 *   link: () => Link | null,
 *   emit: (event: string, ...told: any[]) => void,
 *   data: (channel: string, data: string) => void,
 * }} client
 * @returns {Record<string, (data: any) => void>}
 */
export function serverEvents({ members, link, emit, data: received }) {
  /** @param {PublishedTrack} track */
  const isAnothers = ({ peer }) => peer !== members.self;
  return {
    authenticated: misplaced,
    resumed: misplaced,
    joined: (data) => members.joined(data),
    left: (data) => members.left(data),
    room_restarted: ({ peers }) => {
      members.remain(peers);
      emit("room_restarted");
    },
    room_members: (data) => members.listed(data),
    error: ({ description, details }) => {
      const isWebRtc = description === "WebRTC failed";
      if (isWebRtc && link()?.isLate(details)) return;
      emit("error", serverError(text(description), details));
      if (isWebRtc) link()?.handleRefusal(details);
    },
    "webrtc:offer": (offer) => link()?.negotiation.handleOffer({ type: "offer", sdp: text(offer.sdp) }),
    "webrtc:answer": (answer) => link()?.negotiation.handleAnswer({ type: "answer", sdp: text(answer.sdp) }),
    "webrtc:ice": (candidate) => link()?.negotiation.handleCandidate(candidate),
    "webrtc:state": ({ state, reason }) => {
      if (state === "rate_limited") {
        link()?.handleWarning();
        return emit("error", serverError("Rate limited", state));
      }
      link()?.handleState(text(state), reason);
    },
    "webrtc:data": ({ channel, data }) => received(text(channel), text(data)),
    "media:tracks": ({ added = [], changed = [], removed = [], all }) => {
      if (all) link()?.handleAllTracks(all.map(published).filter(isAnothers));
      link()?.handleTracks(added.map(published).filter(isAnothers), changed.map(change), removed.map(text));
    },
    "media:slots": ({ slots }) => {
      const bound = Object.entries(slots).map(([mid, track]) => [mid, track && published(track)]);
      // For a moment after its connection was replaced, a client may get what it has sent over the previous one.
      const others = new Map(bound.map(([mid, track]) => [mid, track && isAnothers(track) ? track : null]));
      link()?.handleSlots(others, Object.values(slots).filter((slot) => slot?.state).map(flow));
    },
    "media:layers": ({ mid, rids }) => link()?.handleLayers(text(mid), object(rids)),
    "media:speaker": ({ peer, levels }) => emit("speaker", peer, levels),
    "media:refused": ({ mid, kind }) => {
      emit("error", new CallboardError("media_refused", "the server does not let this client publish a track", { mid: text(mid), kind }));
    },
    "media:muted": ({ mid, muted }) => link()?.handleMuted(text(mid), muted === true),
    "media:failed": () => link()?.handleMediaFailed(),
    // The client's ends of the channels report that.
    "webrtc:channel_open": () => {},
    "webrtc:channel_closed": () => {},
  };
}

/** Names of the client's own events: messages of the application with these names reach only listeners of `message`. */
export const EVENT_NAMES = new Set([
  ..."joined left room_restarted resumed rejoined moved message error state".split(" "),
  ..."webrtc track tracks track_muted stream flow speaker channel_open channel_closed data".split(" "),
]);

/**
 * @param {{ track: unknown, peer: unknown, kind: unknown, muted?: unknown, source?: any, metadata?: any }} told
 * @returns {PublishedTrack}
 */
function published({ track, peer, kind, muted, source = null, metadata = null }) {
  return Object.freeze({
    track: text(track), peer: text(peer), kind: kind === "audio" ? "audio" : "video", muted: muted === true, source, metadata,
  });
}

/**
 * Returns what is told of a track that has changed: all of it, or that it is muted.
 *
 * @param {any} told
 * @returns {Partial<PublishedTrack> & { track: string }}
 */
function change(told) {
  return "kind" in told ? published(told) : { track: text(told.track), muted: told.muted === true };
}

/**
 * @param {{ track: unknown, peer: unknown, state: unknown, layer: unknown, height: unknown }} told
 * @returns {Flow}
 */
function flow({ track, peer, state, layer, height }) {
  return Object.freeze({
    track: text(track),
    peer: text(peer),
    state: /** @type {Flow["state"]} */ (text(state)),
    layer: typeof layer === "string" ? layer : null,
    height: typeof height === "number" ? height : null,
  });
}
