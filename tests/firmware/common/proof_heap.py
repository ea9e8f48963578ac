"""A join and many uplinks of one node in a small heap: `-m proof_heap COUNT STEP` prints what is in use, step by step.

Meant to be compiled (.mpy) together with all it imports and to be run with -X heapsize=96K. The network beside the node
is as small as can be, and borrows the node's cryptography: what it takes of the heap is not what is to be shown.
"""

import gc
import sys

# One at a time, as a node with little memory would: what loading leaves behind is cleared away before the next.
for name in ("crypto", "frames", "mac", "eu868", "device"):
    __import__("lorawan." + name)
    gc.collect()
for name in ("radio.sx126x", "radio.runner", "proof_chip"):
    __import__(name)
    gc.collect()

from cryptolib import aes  # noqa: E402
from lorawan import crypto  # noqa: E402
from lorawan.mac import NoAirtime  # noqa: E402
from proof_chip import Node  # noqa: E402

KEY = bytes(range(16))
_DEV_ADDR = b"\x04\x03\x02\x26"
# LinkADRReq, DevStatusReq, RXTimingSetupReq, NewChannelReq, in turn
_COMMANDS = (b"\x03\x52\x07\x00\x02", b"\x06", b"\x08\x01", b"\x07\x03\x18\x4f\x84\x50", b"\x03\x31\x0f\x00\x01")


class Network:
    """Joins whoever asks; after every tenth uplink a downlink with a command, in RX1 or RX2."""

    def __init__(self):
        self.uplinks = 0
        self.fcnt = 0
        self.key = b""

    def hear(self, frame):
        if frame[0] == 0:
            nonce = frame[17] | frame[18] << 8
            body = bytes((nonce & 0xFF, nonce >> 8, 1, 0, 0, 0)) + _DEV_ADDR + b"\x03\x01"
            self.key = crypto.session_keys(KEY, nonce | 1 << 16, 0, nonce)[0]
            self.fcnt = 0
            return 1, b"\x20" + aes(KEY, 1).decrypt(body + crypto.join_mic(KEY, b"\x20" + body))
        self.uplinks += 1
        if self.uplinks % 10:
            return None
        command = _COMMANDS[self.fcnt % len(_COMMANDS)]
        down = b"\x60" + _DEV_ADDR + bytes((0x20 | len(command), self.fcnt & 0xFF, self.fcnt >> 8)) + command
        down += crypto.data_mic(self.key, 0x26020304, self.fcnt, 1, down)
        self.fcnt += 1
        return 1 + self.fcnt % 2, down


class Dice:
    def __init__(self):
        self.state = 1

    def __call__(self, n):
        self.state = self.state * 48271 % 2147483647
        return self.state % n


def main(count, step=1000):
    node = Node(Network(), Dice(), KEY)
    device = node.device
    sent = 0
    most = 0
    downlinks = 0
    while sent < count:
        try:
            if not device.joined:
                device.join()
                node.wait(10000)
                continue
            outcome = device.uplink(1, bytes(11), sent % 16 == 0)
            downlinks += outcome.window > 0
            sent += 1
            node.wait(900000)
        except NoAirtime as error:
            node.wait(error.wait_ms)
        if sent % 50 == 0:
            gc.collect()
            most = max(most, gc.mem_alloc())  # type: ignore[attr-defined]  # MicroPython's
        if sent % step == 0:
            print("sent", sent, "most", most, "downlinks", downlinks, "flash", node.flash.writes)
            most = 0


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
