// A room as React hooks: `useRoom` joins it while the component is mounted, `useEvent` listens.

import { connect } from "callboard";
import { useCallback, useEffect, useState } from "react";

/** @import { Client, State } from "callboard" */
/** @typedef {{ client: Client | null, state: State, peers: string[], error: unknown }} Room */

/**
 * Joins a room, and leaves it when the component goes or has another room.
 *
 * @param {string} url of the room's WebSocket
 * @returns {Room} `client`: null until the room has admitted it; `error`: why it has not
 */
export function useRoom(url) {
  const [room, setRoom] = useState(CONNECTING);
  useEffect(() => {
    let isOver = false;
    /** @type {Client | null} */
    let client = null;
    /** @param {unknown} [error] */
    const show = (error = null) => {
      if (isOver) return;
      const state = client?.state ?? (error ? "closed" : "connecting");
      setRoom({ client, state, peers: [...(client?.peers.keys() ?? [])], error });
    };
    show();
    connect(url).then((joined) => {
      if (isOver) return joined.close();
      client = joined;
      for (const event of ["joined", "left", "rejoined", "state"]) client.on(event, () => show());
      show();
    }, show);
    return () => {
      isOver = true;
      client?.close();
    };
  }, [url]);
  return room;
}

/**
 * Listens to messages of the application while the component is mounted.
 *
 * @param {Client | null} client
 * @param {string} event
 * @param {(data: any, from: string | null) => void} listener the same function each time, as of `useCallback`
 */
export function useEvent(client, event, listener) {
  useEffect(() => client?.on(event, listener), [client, event, listener]);
}

/** @param {{ url: string }} props */
export function Chat({ url }) {
  const { client, state, peers, error } = useRoom(url);
  const [lines, setLines] = useState(/** @type {string[]} */ ([]));
  useEvent(
    client,
    "chat",
    useCallback((text, from) => setLines((before) => [...before, `${from}: ${text}`]), []),
  );
  if (error) return <p>{String(error)}</p>;
  return (
    <>
      <p>
        {state}, with {peers.length} others
      </p>
      <ul>
        {lines.map((line, index) => (
          <li key={index}>{line}</li>
        ))}
      </ul>
      <button disabled={!client} onClick={() => client?.send("chat", "Hello, everyone")}>
        Say hello
      </button>
    </>
  );
}

/** @type {Room} */
const CONNECTING = { client: null, state: "connecting", peers: [], error: null };
