"""Peer connections of aiortc that send back what comes on data channels, for `integration-tests/load`.

An offer that is posted to /echo gets its answer, with all candidates. It listens on a free port and prints its address;
it ends with its standard input.
"""

import asyncio
import sys

from aiohttp import web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

connections = set()


async def echo(request):
    # Without servers: it would wait for their candidates.
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connections.add(connection)

    @connection.on("datachannel")
    def added(channel):
        @channel.on("message")
        def came(message):
            channel.send(message)

        @channel.on("close")
        async def closed():
            await connection.close()

    @connection.on("connectionstatechange")
    async def changed():
        if connection.connectionState == "failed":
            await connection.close()
        if connection.connectionState == "closed":
            connections.discard(connection)

    await connection.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    return web.Response(status=201, text=connection.localDescription.sdp, content_type="application/sdp")


async def main():
    app = web.Application()
    app.router.add_post("/echo", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, sys.argv[1], 0)
    await site.start()
    print("%s:%d" % runner.addresses[0][:2], flush=True)

    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    for connection in list(connections):
        await connection.close()
    await runner.cleanup()


asyncio.run(main())
