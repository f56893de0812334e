// Overlap of two peer connections: the one to the server that the client has left lasts until the next one carries media.

/** Overlap of the peer connection before with the current one, to another server. */
export class Overlap {
  /** The connection before. */
  connection;
  /** Time at which the next one was connected. @type {number | null} */
  #connectedAt = null;
  #began = performance.now();
  /** Time for which it lasts after that, in ms. */
  #lingers;
  #looking;
  #host;

  /**
   * @param {RTCPeerConnection} connection the one before
   * @param {{ carries: () => Promise<boolean>, over: () => void, late: () => void }} host `carries`: shows what carries
   *   media over the next one, and says whether all does that the one before carries; `over`: the one before is not needed
   *   any more; `late`: the next one is not connected in time
   */
  constructor(connection, host) {
    this.connection = connection;
    this.#host = host;
    // Others may see this until they have moved as well.
    this.#lingers = connection.getSenders().some(({ track }) => track) ? SENDS_ON : 0;
    connection.onconnectionstatechange = () => ENDS.has(connection.connectionState) && host.over();
    this.#looking = setInterval(() => void this.#look(), LOOKS_AFTER);
  }

  /** Whether the next one is connected. */
  get isConnected() {
    return this.#connectedAt !== null;
  }

  /** Notes that the next one is connected. */
  connected() {
    this.#connectedAt ??= performance.now();
  }

  /** Ends it: closes the connection before. */
  end() {
    clearInterval(this.#looking);
    const { connection } = this;
    connection.onconnectionstatechange = connection.ondatachannel = null;
    connection.close();
  }

  async #look() {
    const all = await this.#host.carries();
    const now = performance.now();
    const isTime = now - this.#began >= LONGEST;
    if (this.#connectedAt === null) return isTime && this.#host.late();
    if (isTime || (all && now - this.#connectedAt >= this.#lingers)) this.#host.over();
  }
}

/** Longest overlap, in ms: as long as servers keep a connection whose client has moved. */
const LONGEST = 10_000;
/**
 * Time for which what is sent goes on over the connection before, in ms: servers move the clients of a room together, and
 * these show it until it comes evenly over the next one.
 */
const SENDS_ON = 4_000;
/** Time from one look at what flows to the next, in ms. */
const LOOKS_AFTER = 40;
/** States in which a connection carries nothing any more. */
const ENDS = new Set(["failed", "closed"]);
