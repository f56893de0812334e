"""Makes what the bots of the examples send: six seconds of a drawn picture and of a soft tone, without any other source.

    make.py FOLDER        (needs PyAV)

`picture.ivf` has 100 frames of VP8 of 60 ms, the first of them a key frame; `sound.ivf` has 300 packets of Opus of 20 ms.
"""

import math
import struct
import sys
from fractions import Fraction
from pathlib import Path

import av

WIDTH, HEIGHT, FRAMES = 320, 180, 100
PACKETS, SAMPLES = 300, 960


def pictures():
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(3, 50), Fraction(50, 3)
    encoder.bit_rate = 60_000
    encoder.gop_size = 1_000
    encoder.options = {"deadline": "best", "lag-in-frames": "0", "auto-alt-ref": "0", "error-resilient": "default"}
    for number in range(FRAMES):
        turn = 2 * math.pi * number / FRAMES
        across, down = WIDTH * (0.5 + 0.36 * math.sin(turn)), HEIGHT * (0.5 + 0.26 * math.sin(2 * turn))
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        light, blue, red = frame.planes
        light.update(plane(light, 1, lambda x, y: 215 if math.hypot(x - across, y - down) < 26 else 70))
        blue.update(plane(blue, 2, lambda x, y: 128 + int(24 * math.cos(turn))))
        red.update(plane(red, 2, lambda x, y: 128 + int(24 * math.sin(turn))))
        frame.pts = number
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def plane(plane, scale, value):
    rows = range(plane.buffer_size // plane.line_size)
    return bytes(value(x * scale, y * scale) for y in rows for x in range(plane.line_size))


def sound():
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "s16"
    encoder.time_base, encoder.bit_rate = Fraction(1, 48_000), 12_000
    for number in range(PACKETS):
        frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        moments = (moment / 48_000 for moment in range(SAMPLES * number, SAMPLES * (number + 1)))
        frame.planes[0].update(b"".join(struct.pack("<h", tone(moment)) for moment in moments))
        frame.sample_rate, frame.pts = 48_000, SAMPLES * number
        yield from encoder.encode(frame)


def tone(moment):
    """Two notes that fade, then silence."""
    level = sum(
        math.exp(-6 * (moment - begin)) * math.sin(2 * math.pi * pitch * moment)
        for begin, pitch in [(0.1, 523.25), (0.4, 659.25)]
        if moment >= begin
    )
    return int(1_500 * level)


def write(path, codec, size, rate, frames):
    header = struct.pack("<4sHH4sHHIII4x", b"DKIF", 0, 32, codec, *size, *rate, len(frames))
    body = b"".join(struct.pack("<IQ", len(frame), number) + frame for number, frame in enumerate(frames))
    path.write_bytes(header + body)


folder = Path(sys.argv[1])
write(folder / "picture.ivf", b"VP80", (WIDTH, HEIGHT), (50, 3), [bytes(packet) for packet in pictures()][:FRAMES])
write(folder / "sound.ivf", b"Opus", (0, 0), (50, 1), [bytes(packet) for packet in sound()][:PACKETS])
