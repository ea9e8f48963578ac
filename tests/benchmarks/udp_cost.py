"""What a datagram costs from the socket to the network server, and its acknowledgement back.

Processor time, best of several turns: the machine has other work.

    python -m tests.benchmarks.udp_cost
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

from nest.forwarders.gateways import Gateways
from nest.forwarders.semtech_udp import SemtechUdp
from nest.model import GatewayInfo, RadioFrame

EUI = "a84041ffff1ec39f"
COUNT, TURNS = 1000, 40
BUDGET_US = 25.0


def rows() -> Iterator[tuple[str, str, str]]:
    """The figures."""
    yield from asyncio.run(_measure())


async def _measure() -> list[tuple[str, str, str]]:
    waiting: list[Callable[[], None]] = []

    def on_frames(frames: Sequence[RadioFrame], stored: Callable[[], None] | None) -> int:
        if stored is not None:
            waiting.append(stored)
        return len(frames)

    gateways = Gateways([GatewayInfo(EUI, "Rathaus")])
    udp = await SemtechUdp.listen("127.0.0.1", 0, gateways, on_frames, lambda: None, lambda *_: None)
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gateway:
        gateway.connect(("127.0.0.1", udp.port))
        gateway.setblocking(False)
        for rxpks in (1, 4):
            taken, acknowledged = [], []
            for _ in range(TURNS):
                datagram = _push(rxpks)
                for _ in range(COUNT):
                    gateway.send(datagram)
                began = time.process_time()
                while len(waiting) < COUNT:
                    udp._drain()
                heard = time.process_time()
                for stored in waiting:
                    stored()
                acknowledged.append((time.process_time() - heard) / COUNT * 1e6)
                taken.append((heard - began) / COUNT * 1e6)
                waiting.clear()
                _empty(gateway)
            asked = f"<= {BUDGET_US:.0f}" if rxpks == 1 else ""
            what = f"datagram with {rxpks} rxpk, socket to network server (us)"
            found.append((what, asked, f"{min(taken):.1f} (median {statistics.median(taken):.1f})"))
        found.append(("PUSH_ACK (us)", "", f"{min(acknowledged):.1f} (median {statistics.median(acknowledged):.1f})"))
    udp.close()
    return found


def _push(rxpks: int) -> bytes:
    rxpk = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S.250000Z", time.gmtime()),
        "tmst": 3512348611, "chan": 2, "rfch": 0, "freq": 868.1, "stat": 1, "modu": "LORA", "datr": "SF7BW125",
        "codr": "4/5", "rssi": -35, "lsnr": 5.1, "size": 25, "data": base64.b64encode(bytes(25)).decode(),
    }  # fmt: skip
    body = json.dumps({"rxpk": [rxpk] * rxpks}, separators=(",", ":")).encode()
    return bytes((2, 0, 0, 0)) + bytes.fromhex(EUI) + body


def _empty(gateway: socket.socket) -> None:
    while True:
        try:
            gateway.recv(16)
        except BlockingIOError:
            return


if __name__ == "__main__":
    for row in rows():
        print("  {:<58} asked {:<14} measured {}".format(*row))
