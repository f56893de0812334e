"""Peer connection of aiortc, controlled by JSON lines: reads {id, do, ...}, writes {id, ok}, {id, error}, {event, ...}.

`browser_peer.js` describes the commands. It does not trickle: its descriptions contain all candidates. It ends with its
standard input.
"""

import asyncio
import json
import sys

from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError
from aiortc.sdp import candidate_from_sdp


def tell(**what):
    print(json.dumps(what), flush=True)


def pattern(length, number):
    data = bytearray((at * 7 + number) % 256 for at in range(length))
    if length >= 4:
        data[:4] = number.to_bytes(4, "big")
    return bytes(data)


class Channel:
    def __init__(self, channel):
        self.channel = channel
        self.messages, self.bytes, self.in_order, self.last = 0, 0, True, None
        self.came = asyncio.Condition()

    async def heard(self, message):
        if isinstance(message, str):
            self.bytes += len(message.encode())
            self.last = {"text": message}
        else:
            if len(message) >= 4 and int.from_bytes(message[:4], "big") != self.messages:
                self.in_order = False
            self.bytes += len(message)
            self.last = {"bytes": len(message), "sum": sum(message) % 2**32}
        self.messages += 1
        async with self.came:
            self.came.notify_all()

    def tally(self):
        return {"messages": self.messages, "bytes": self.bytes, "inOrder": self.in_order, "last": self.last}


class Peer:
    def __init__(self):
        self.connection = None
        self.channels = {}
        self.frames = {"audio": 0, "video": 0}
        self.echoes = False
        self.tasks = []

    async def do_new(self):
        await self.do_close()
        self.__init__()
        # Without servers: it would wait for their candidates.
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connection = connection

        @connection.on("connectionstatechange")
        async def changed():
            tell(event="connection", state=connection.connectionState)

        @connection.on("datachannel")
        def added(channel):
            tell(event="channel", label=channel.label, protocol=channel.protocol, ordered=channel.ordered, negotiated=False)
            self.adopt(channel)
            tell(event="open", label=channel.label)

        @connection.on("track")
        def arrived(track):
            tell(event="track", kind=track.kind)
            self.tasks.append(asyncio.ensure_future(self.watch(track)))

    async def watch(self, track):
        try:
            while True:
                await track.recv()
                self.frames[track.kind] += 1
        except MediaStreamError:
            pass

    def adopt(self, channel):
        adopted = Channel(channel)
        self.channels[channel.label] = adopted

        @channel.on("message")
        async def came(message):
            if self.echoes:
                channel.send(message)
            await adopted.heard(message)

        @channel.on("open")
        def opened():
            tell(event="open", label=channel.label)

        @channel.on("close")
        def closed():
            tell(event="closed", label=channel.label)

    def described(self):
        description = self.connection.localDescription
        return {"type": description.type, "sdp": description.sdp}

    async def do_offer(self, restart=False):
        if restart:
            raise NotImplementedError("aiortc has no ICE restart")
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return self.described()

    async def do_answer(self):
        await self.connection.setLocalDescription(await self.connection.createAnswer())
        return self.described()

    async def do_remote(self, description):
        await self.connection.setRemoteDescription(RTCSessionDescription(**description))

    async def do_candidate(self, candidate):
        if not candidate or not candidate["candidate"]:
            return await self.connection.addIceCandidate(None)
        parsed = candidate_from_sdp(candidate["candidate"].removeprefix("candidate:"))
        parsed.sdpMid, parsed.sdpMLineIndex = candidate["sdpMid"], candidate["sdpMLineIndex"]
        await self.connection.addIceCandidate(parsed)

    async def do_channel(self, label, options=None):
        self.adopt(self.connection.createDataChannel(label, **(options or {})))

    async def do_echo(self):
        self.echoes = True

    async def do_send(self, label, text=None, bytes=0, count=1):
        channel = self.channels[label].channel
        if text is not None:
            return channel.send(text)
        for number in range(count):
            while channel.bufferedAmount > 1024 * 1024:
                low = asyncio.get_running_loop().create_future()
                channel.bufferedAmountLowThreshold = 256 * 1024
                channel.once("bufferedamountlow", lambda: low.done() or low.set_result(None))
                await low
            channel.send(pattern(bytes, number))
            # aiortc's SCTP runs on this very thread.
            await asyncio.sleep(0)

    async def do_received(self, label):
        return self.channels[label].tally()

    async def do_expect(self, label, messages):
        channel = self.channels[label]
        async with channel.came:
            await channel.came.wait_for(lambda: channel.messages >= messages)
        return channel.tally()

    async def do_media(self, kind):
        track = VideoStreamTrack() if kind == "video" else AudioStreamTrack()
        sender = self.connection.addTrack(track)
        return {"sender": self.connection.getSenders().index(sender)}

    async def do_unmedia(self, sender):
        # aiortc has no removeTrack; this has the same effect.
        sender = self.connection.getSenders()[sender]
        sender.replaceTrack(None)
        for transceiver in self.connection.getTransceivers():
            if transceiver.sender is sender:
                transceiver.direction = "recvonly"

    async def do_decoded(self, kind):
        return self.frames[kind]

    async def do_transport(self):
        transport = self.connection.sctp.transport if self.connection.sctp else None
        for transceiver in self.connection.getTransceivers():
            transport = transport or transceiver.sender.transport
        profile = None
        ssl = getattr(transport, "ssl", None) or getattr(transport, "_ssl", None)
        if ssl is not None:
            profile = ssl.get_selected_srtp_profile().decode() or None
        return {"dtlsVersion": "FEFD", "srtpCipher": profile, "state": transport.state if transport else None}

    async def do_perfect(self, polite):
        raise NotImplementedError("aiortc has no rollback")

    async def do_state(self):
        connection = self.connection
        return {
            "connection": connection.connectionState,
            "ice": connection.iceConnectionState,
            "signaling": connection.signalingState,
            "gathering": connection.iceGatheringState,
        }

    async def do_close(self):
        for task in self.tasks:
            task.cancel()
        if self.connection:
            await self.connection.close()


async def main():
    peer = Peer()
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def execute(id, do, **rest):
        try:
            tell(id=id, ok=await getattr(peer, f"do_{do}")(**rest))
        except Exception as error:
            tell(id=id, error=f"{type(error).__name__}: {error}")

    running = set()
    while line := await reader.readline():
        task = asyncio.ensure_future(execute(**json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)
    await peer.do_close()


asyncio.run(main())
