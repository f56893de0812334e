"""ICE agent of another implementation (aioice, one component), controlled by JSON lines.

It writes, each with its "event":
    gathered    username, password, candidates: as soon as it has them
    connected   local, remote: the candidates of the selected pair
    received    text: a payload, which it has sent back with "echo:" before it, unless it began so
    failed      reason: no pair was found
    closed      after "connected", when consent has expired or the socket is gone

It reads, each with its "do":
    connect     username, password, candidates, and if wanted lite (default: false) and more (default: false: the
                candidates are all there will be)
    candidate   candidate: one that came later, or null when there are no more
    send        text: a payload to send as it is

It ends with its standard input.
"""

import argparse
import asyncio
import json
import sys

from aioice import Candidate, Connection, TransportPolicy


async def main(options):
    connection = Connection(
        ice_controlling=options.role == "controlling",
        stun_server=options.stun,
        turn_server=options.turn,
        turn_username=options.turn_username,
        turn_password=options.turn_password,
        turn_ssl=options.turn_tls,
        turn_transport=options.turn_transport,
        transport_policy=TransportPolicy.RELAY if options.relay_only else TransportPolicy.ALL,
    )
    await connection.gather_candidates()
    tell(
        "gathered",
        username=connection.local_username,
        password=connection.local_password,
        candidates=[PREFIX + candidate.to_sdp() for candidate in connection.local_candidates],
    )

    running = None
    async for command in commands():
        match command["do"]:
            case "connect":
                connection.remote_username = command["username"]
                connection.remote_password = command["password"]
                connection.remote_is_lite = command.get("lite", False)
                for candidate in command["candidates"]:
                    await add(connection, candidate)
                if not command.get("more", False):
                    await add(connection, None)
                running = asyncio.create_task(run(connection))
            case "candidate":
                await add(connection, command["candidate"])
            case "send":
                await connection.send(command["text"].encode())
            case other:
                raise ValueError(f"cannot {other}")
    await connection.close()
    if running:
        await running


async def run(connection):
    try:
        await connection.connect()
    except ConnectionError as error:
        tell("failed", reason=str(error))
        return
    # aioice has no public name for the selected pair.
    pair = connection._nominated[1]
    tell("connected", local=PREFIX + pair.local_candidate.to_sdp(), remote=PREFIX + pair.remote_candidate.to_sdp())
    try:
        while True:
            payload = await connection.recv()
            if not payload.startswith(ECHO):
                await connection.send(ECHO + payload)
            tell("received", text=payload.decode(errors="replace"))
    except ConnectionError:
        tell("closed")


async def add(connection, candidate):
    if candidate is not None:
        candidate = Candidate.from_sdp(candidate.removeprefix("a=").removeprefix(PREFIX))
    await connection.add_remote_candidate(candidate)


async def commands():
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


def tell(event, **what):
    print(json.dumps({"event": event, **what}), flush=True)


def server(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def read_options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--role", choices=["controlling", "controlled"], required=True)
    parser.add_argument("--stun", type=server, metavar="HOST:PORT")
    parser.add_argument("--turn", type=server, metavar="HOST:PORT")
    parser.add_argument("--turn-username")
    parser.add_argument("--turn-password")
    parser.add_argument("--turn-transport", choices=["udp", "tcp"], default="udp")
    parser.add_argument("--turn-tls", action="store_true", help="SSL_CERT_FILE names whom to trust")
    parser.add_argument("--relay-only", action="store_true")
    return parser.parse_args()


PREFIX = "candidate:"
ECHO = b"echo:"

if __name__ == "__main__":
    asyncio.run(main(read_options()))
