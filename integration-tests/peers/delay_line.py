"""Link between two networks on which everything takes a while, for kernels without netem.

    delay_line.py NAME FAR_NAME MILLISECONDS

makes two interfaces in its network, says so ({"event": "ready"}), and passes on what is sent into one to the other, so much later. Move
the second one to the other network then. It ends with its input.
"""

import collections
import fcntl
import os
import select
import struct
import sys
import time

# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000


def open_tun(name):
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return tun


def main():
    near, far = open_tun(sys.argv[1]), open_tun(sys.argv[2])
    delay = float(sys.argv[3]) / 1000
    other = {near: far, far: near}
    waiting = collections.deque()
    print('{"event": "ready"}', flush=True)
    while True:
        left = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        readable, _, _ = select.select([near, far, sys.stdin], [], [], left)
        if sys.stdin in readable and not os.read(sys.stdin.fileno(), 1024):
            return
        now = time.monotonic()
        for tun in (near, far):
            while tun in readable:
                try:
                    waiting.append((now + delay, other[tun], os.read(tun, 65536)))
                except BlockingIOError:
                    break
        while waiting and waiting[0][0] <= time.monotonic():
            _, tun, packet = waiting.popleft()
            try:
                os.write(tun, packet)
            except OSError:
                # The interface is not up yet, or its queue is full: the packet is lost.
                pass


main()
