"""Encodes a second and a half of a moving picture or of a tone, and prints each frame in hexadecimal.

    encode_frames.py libvpx|libx264|libopus
    encode_frames.py bars     ten frames of VP8 for each number from 0 to 31: what it is in five bars, white for 1
"""

import math
import struct
import sys
from fractions import Fraction

import av

WIDTH, HEIGHT = 320, 180


def pictures(codec):
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base = Fraction(1, 30)
    encoder.gop_size = 15
    if codec == "libx264":
        encoder.options = {"profile": "baseline", "preset": "ultrafast", "tune": "zerolatency"}
    else:
        encoder.options = {"deadline": "realtime", "lag-in-frames": "0", "threads": "1"}
    for number in range(45):
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane in frame.planes:
            line = bytes((place + 4 * number) % 256 for place in range(plane.line_size))
            plane.update(line * (plane.buffer_size // plane.line_size))
        frame.pts = number
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def bars(number):
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base = Fraction(1, 5)
    encoder.bit_rate = 60_000
    encoder.options = {"deadline": "realtime", "lag-in-frames": "0", "auto-alt-ref": "0", "threads": "1"}
    for turn in range(10):
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        light, *colours = frame.planes
        bar = light.line_size // 5
        line = b"".join(bytes([235 if number >> bit & 1 else 16]) * bar for bit in range(5))
        line = line.ljust(light.line_size, b"\x10")
        # Below the bars something moves.
        moving = bytes([25 * turn]) * light.line_size
        below = light.buffer_size // light.line_size // 4
        light.update(line * (light.buffer_size // light.line_size - below) + moving * below)
        for plane in colours:
            plane.update(b"\x80" * plane.buffer_size)
        frame.pts = turn
        yield from encoder.encode(frame)


def tone():
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "stereo", "s16"
    encoder.time_base = Fraction(1, 48_000)
    for number in range(75):
        frame = av.AudioFrame(format="s16", layout="stereo", samples=960)
        moments = range(960 * number, 960 * (number + 1))
        tones = (int(9_000 * math.sin(2 * math.pi * 440 * moment / 48_000)) for moment in moments)
        frame.planes[0].update(b"".join(struct.pack("<hh", tone, tone) for tone in tones))
        frame.sample_rate, frame.pts = 48_000, 960 * number
        yield from encoder.encode(frame)


match sys.argv[1]:
    case "libopus":
        packets = tone()
    case "bars":
        packets = (packet for number in range(32) for packet in bars(number))
    case codec:
        packets = pictures(codec)
for packet in packets:
    print(bytes(packet).hex())
