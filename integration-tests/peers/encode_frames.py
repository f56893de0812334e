"""Encodes a second and a half of a moving picture or of a tone, and prints each frame in hexadecimal.

    encode_frames.py libvpx|libx264|libopus
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
        encoder.options = {"deadline": "realtime", "lag-in-frames": "0"}
    for number in range(45):
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane in frame.planes:
            line = bytes((place + 4 * number) % 256 for place in range(plane.line_size))
            plane.update(line * (plane.buffer_size // plane.line_size))
        frame.pts = number
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


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


for packet in tone() if sys.argv[1] == "libopus" else pictures(sys.argv[1]):
    print(bytes(packet).hex())
