// Offers, answers and candidates of one browser's peer connection.

import { ANSWER_TIME } from "./bounds.js";

/**
 * Negotiation of one of the browser's peer connections with the server. The client is the impolite side of perfect
 * negotiation: if both offer, the server gives way. The browser asks again after a round, so rounds do not overlap.
 */
export class Negotiation {
  /** Whether the server has answered this connection: its earlier messages are about the previous one. */
  answered = false;
  /** Whether an offer is due that could not be sent to the server. */
  #owed = false;
  /** Whether a round is being started, by this client or by the server. */
  #offering = false;
  /** Whether an offer was sent to the server. */
  #offered = false;
  /** Descriptions of the server are set one after the other. */
  #descriptions = Promise.resolve();
  /** Candidates that arrived before their description. @type {any[]} */
  #early = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #answerTimer;
  #connection;
  #host;

  /**
   * @param {RTCPeerConnection} connection
   * @param {{
   *   isCurrent: () => boolean,
   *   isOver: () => boolean,
   *   tell: (event: string, data: any) => boolean,
   *   reachable: () => boolean,
   *   addTracks: () => boolean,
   *   offering: () => void,
   *   answered: () => void,
   *   failed: (code: string, error: unknown) => void,
   *   lost: () => void,
   * }} host `isCurrent`: whether no other connection has replaced this one; `isOver`: one has, or it was closed
   */
  constructor(connection, host) {
    this.#connection = connection;
    this.#host = host;
    connection.onnegotiationneeded = () => this.#offer();
    connection.onicecandidate = ({ candidate }) => this.#found(candidate);
  }

  /** Whether an offer is unanswered. */
  get isWaiting() {
    return this.#answerTimer !== undefined;
  }

  /** Notes that no offer is unanswered any more. */
  stopWaiting() {
    clearTimeout(this.#answerTimer);
    this.#answerTimer = undefined;
  }

  /** Sends an offer that is due, once it can be sent. */
  settle() {
    if (this.#owed && this.#connection.signalingState === "stable") this.#offer();
  }

  /** Offers once more, although nothing has changed here. */
  renew() {
    this.#owed = true;
    this.settle();
  }

  /**
   * Runs this when the descriptions that came before it are set, unless the server has not answered this connection
   * yet: then it is about the previous one.
   *
   * @param {() => void} run
   */
  afterDescriptions(run) {
    this.#descriptions = this.#descriptions.then(() => {
      if (this.answered && !this.#host.isOver()) run();
    });
  }

  /** @param {RTCSessionDescriptionInit} answer */
  handleAnswer(answer) {
    this.#descriptions = this.#descriptions.then(() => this.#takeAnswer(answer));
  }

  /** @param {RTCSessionDescriptionInit} offer */
  handleOffer(offer) {
    this.#descriptions = this.#descriptions.then(() => this.#takeOffer(offer));
  }

  /** @param {RTCIceCandidateInit | null} candidate */
  handleCandidate(candidate) {
    if (this.answered) {
      // A candidate that does not fit belongs to the previous connection, or to the time before an ICE restart.
      this.#connection.addIceCandidate(candidate ?? undefined).catch(() => {});
    } else if (this.#early.length < MAX_EARLY) {
      this.#early.push(candidate);
    }
  }

  /** @param {RTCSessionDescriptionInit} answer */
  async #takeAnswer(answer) {
    const connection = this.#connection;
    if (this.#host.isOver() || connection.signalingState !== "have-local-offer") return;
    this.stopWaiting();
    try {
      await connection.setRemoteDescription(answer);
    } catch (error) {
      if (!this.#host.isOver()) this.#host.failed("bad_answer", error);
      return;
    }
    if (this.#host.isOver()) return;
    this.answered = true;
    this.#host.answered();
    for (const candidate of this.#early.splice(0)) this.handleCandidate(candidate);
    this.settle();
  }

  /**
   * Takes an offer of the server. If both sides offer, the server's offer is dropped, and the server offers again later.
   *
   * @param {RTCSessionDescriptionInit} offer
   */
  async #takeOffer(offer) {
    const connection = this.#connection;
    if (this.#host.isOver() || !this.answered) return;
    if (this.#offering || connection.signalingState !== "stable") return;
    this.#offering = true;
    try {
      await connection.setRemoteDescription(offer);
      await connection.setLocalDescription();
    } catch (error) {
      if (!this.#host.isOver()) this.#host.failed("bad_offer", error);
      return;
    }
    if (this.#host.isOver()) return;
    this.#offering = false;
    const { type, sdp } = connection.localDescription ?? {};
    if (!this.#host.tell("webrtc:answer", { type, sdp })) return this.#host.lost();
    this.settle();
  }

  async #offer() {
    const connection = this.#connection;
    if (!this.#host.isCurrent()) return;
    this.#owed = true;
    if (this.#offering || !this.#host.reachable()) return;
    this.#offering = true;
    try {
      await connection.setLocalDescription();
      // So the data section comes first, and carries the transport for all. If it were one that can be stopped, that
      // would take the transport away.
      const isFirst = this.#host.isCurrent() && !this.#offered;
      if (isFirst && this.#host.addTracks()) await connection.setLocalDescription();
    } catch (error) {
      if (!this.#host.isOver()) this.#host.failed("no_offer", error);
      return;
    }
    if (this.#host.isOver()) return;
    this.#offering = false;
    this.#owed = false;
    const { type, sdp } = connection.localDescription ?? {};
    this.#host.offering();
    if (!this.#host.tell("webrtc:offer", { type, sdp })) return this.#host.lost();
    if (!this.#offered && connection.iceGatheringState === "complete") this.#host.tell("webrtc:ice", null);
    this.#offered = true;
    this.#answerTimer = setTimeout(() => this.#host.lost(), ANSWER_TIME);
  }

  /** @param {RTCIceCandidate | null} candidate */
  #found(candidate) {
    // Some browsers mark the end with an empty candidate, all mark it with null.
    if (candidate && !candidate.candidate) return;
    // An offer holds all candidates that were found before it.
    if (!this.#offered) return;
    if (!this.#host.tell("webrtc:ice", candidate?.toJSON() ?? null)) this.#owed = true;
  }
}

/** Number of candidates that may wait for a description. */
const MAX_EARLY = 64;
