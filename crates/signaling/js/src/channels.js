// Data channels of one browser's peer connection.

import { MAX_BUFFERED } from "./bounds.js";
import { queueFull, tooLarge } from "./errors.js";

/** Data channels of one of the browser's peer connections, open or not, by label. */
export class Channels {
  /** @type {Map<string, RTCDataChannel>} */
  #all = new Map();
  #connection;
  #host;

  /**
   * @param {RTCPeerConnection} connection
   * @param {{
   *   isCurrent: () => boolean,
   *   emit: (event: string, ...told: any[]) => void,
   *   data: (channel: string, data: string | ArrayBuffer) => void,
   * }} host
   */
  constructor(connection, host) {
    this.#connection = connection;
    this.#host = host;
  }

  /**
   * @param {string} label
   * @returns {RTCDataChannel | undefined}
   */
  open(label) {
    const channel = this.#all.get(label);
    return channel?.readyState === "open" ? channel : undefined;
  }

  /**
   * @param {string} label
   * @param {RTCDataChannelInit} init
   */
  create(label, init) {
    this.adopt(this.#connection.createDataChannel(label, init));
  }

  /** @param {RTCDataChannel} channel created by either side */
  adopt(channel) {
    const { label } = channel;
    channel.binaryType = "arraybuffer";
    this.#all.set(label, channel);
    let open = false;
    channel.onopen = () => {
      open = true;
      this.#host.emit("channel_open", label);
    };
    channel.onclose = () => {
      if (this.#all.get(label) === channel) this.#all.delete(label);
      if (open) this.#host.emit("channel_closed", label);
      open = false;
    };
    channel.onmessage = ({ data }) => this.#host.isCurrent() && this.#host.data(label, data);
  }

  /** @param {string} label */
  close(label) {
    this.#all.get(label)?.close();
  }

  /**
   * Sends a text, if the channel is open and takes it now.
   *
   * @param {string} label
   * @param {string} text
   * @returns {boolean} whether it was sent
   */
  post(label, text) {
    const channel = this.open(label);
    if (!channel || channel.bufferedAmount > MAX_BUFFERED) return false;
    try {
      channel.send(text);
      return true;
    } catch {
      // It is larger than the channel accepts.
      return false;
    }
  }

  /**
   * Sends a text, if the channel is open.
   *
   * @param {string} label
   * @param {string} text
   * @returns {boolean} whether it was sent
   * @throws {CallboardError} `queue_full`, `too_large`
   */
  send(label, text) {
    const channel = this.open(label);
    if (!channel) return false;
    if (channel.bufferedAmount > MAX_BUFFERED) throw queueFull();
    try {
      channel.send(text);
      return true;
    } catch (error) {
      throw error instanceof TypeError ? tooLarge(this.#connection.sctp?.maxMessageSize) : queueFull();
    }
  }

  /** Reports the channels as closed, and sends nothing over them any more. What still comes over them is received. */
  leave() {
    for (const [label, channel] of [...this.#all]) {
      channel.onclose?.(new Event("close"));
      channel.onopen = channel.onclose = null;
      channel.onmessage = ({ data }) => this.#host.data(label, data);
    }
  }

  /** Reports the channels as closed: closing a connection fires no close events of its channels. */
  dispose() {
    for (const channel of [...this.#all.values()]) {
      channel.onclose?.(new Event("close"));
      channel.onopen = channel.onclose = channel.onmessage = null;
    }
  }
}
