"""Decodes all of a recording with ffmpeg's libraries and prints, as JSON, what is in it.

    check_recording.py FILE

Ends with an error if anything cannot be decoded.
"""

import json
import sys

import av

with av.open(sys.argv[1]) as recording:
    streams = {
        stream.index: {"type": stream.type, "codec": stream.codec_context.name, "frames": 0}
        for stream in recording.streams
    }
    for frame_stream in recording.streams:
        frame_stream.codec_context.options = {"err_detect": "explode"}
    for packet in recording.demux():
        stream = streams[packet.stream.index]
        for frame in packet.decode():
            stream["frames"] += 1
            stream.setdefault("first", float(frame.time))
            if frame.time < stream.get("last", 0):
                sys.exit(f"time runs back at {frame.time}")
            stream["last"] = float(frame.time)
            if packet.stream.type == "video":
                stream["size"] = [frame.width, frame.height]
    duration = None if recording.duration is None else recording.duration / av.time_base
    print(json.dumps({"format": recording.format.name, "duration": duration, "streams": list(streams.values())}))
