"""What the network server's core costs for an uplink, without sockets and without a database.

Fresh, unconfirmed frames of 12 bytes on one channel through `receive`, and `poll` when their windows close: parse, MIC,
counter, decryption, deduplication, MAC commands, effects. Processor time, best of several rounds: the machine has
other work.

    python -m tests.benchmarks.core_cost
"""

from __future__ import annotations

import gc
import random
import struct
import time
from collections.abc import Iterator, Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.cmac import CMAC
from nest.lorawan import NetworkServer, Publish, Settings, StoreUplink
from nest.model import Device, RadioFrame, SessionState

ASKED_US = 30.0
ASKED_RATIO = 1.3
FEW, MANY = 500, 50_000
COUNT = 20_000  # uplinks in one round
BURST = 10  # uplinks between two polls
RATE = 1_000.0  # uplinks in a second of the server's clock
ROUNDS = 5

_CHANNELS = (868_100_000, 868_300_000, 868_500_000)


def key(number: int, which: int) -> bytes:
    return struct.pack("<QQ", number, which)


def uplink(number: int, fcnt: int, payload: bytes) -> bytes:
    """A frame of node `number`, from TS001-1.0.4 sections 4.3.3 and 4.4."""
    block = struct.pack("<BIBIIBB", 1, 0, 0, number, fcnt, 0, 1)
    stream = Cipher(algorithms.AES(key(number, 2)), modes.ECB()).encryptor().update(block)  # noqa: S305 - prescribed
    body = bytes(a ^ b for a, b in zip(payload, stream, strict=False))
    message = struct.pack("<BIBHB", 0x40, number, 0x80, fcnt & 0xFFFF, 2) + body
    mac = CMAC(algorithms.AES(key(number, 1)))
    mac.update(struct.pack("<BIBIIBB", 0x49, 0, 0, number, fcnt, 0, len(message)) + message)
    return message + mac.finalize()[:4]


def town(nodes: int) -> NetworkServer:
    """A server with so many nodes, all joined."""
    devices = [Device(number.to_bytes(8, "big"), bytes(8), bytes(16), f"n{number}") for number in range(nodes)]
    sessions = [
        SessionState(
            device.dev_eui, 1, number, key(number, 1), key(number, 2), rx2_dr=3, active=True, status_at=1.7e9
        )  # as the settings want it: there is nothing to be asked of the node
        for number, device in enumerate(devices)
    ]
    return NetworkServer(Settings(), devices, sessions, (), random.Random(1))  # noqa: S311


def one_round(server: NetworkServer, senders: Sequence[int], fcnt: int, began: float) -> float:
    """Seconds for one uplink, of COUNT that `senders` send in turn, each with counters from `fcnt` on."""
    frames = []
    for i in range(COUNT):
        turn, which = divmod(i, len(senders))
        phy = uplink(senders[which], fcnt + turn, i.to_bytes(12, "big"))
        now = began + i / RATE
        frames.append(RadioFrame(phy, "aa" * 8, 1.7e9 + now, _CHANNELS[i % 3], 7, 125_000, -90.0, 5.0, i))
    stored = published = 0
    spent = 0.0
    clock = time.thread_time
    for at in range(0, COUNT, BURST):
        burst = frames[at : at + BURST]
        now = began + at / RATE
        effects = []
        start = clock()
        for frame in burst:
            effects += server.receive(frame, now)
        effects += server.poll(now)
        spent += clock() - start
        stored += sum(type(effect) is StoreUplink for effect in effects)
        published += sum(type(effect) is Publish for effect in effects)
    rest = server.poll(began + COUNT / RATE + 1)
    published += sum(type(effect) is Publish for effect in rest)
    if (stored, published) != (COUNT, COUNT):
        raise AssertionError(f"{stored} stored, {published} published of {COUNT}")
    return spent / COUNT


def crypto_alone() -> float:
    """Seconds for the MIC and the decryption of one uplink with objects that are ready: what no Python can save."""
    mac, payload_key = CMAC(algorithms.AES(key(1, 1))), AESCCM(key(1, 2), 4)
    message, nonce, body = bytes(37), bytes(13), bytes(12)
    start = time.thread_time()
    for _ in range(COUNT):
        copy = mac.copy()
        copy.update(message)
        copy.finalize()
        payload_key.encrypt(nonce, body, None)
    return (time.thread_time() - start) / COUNT


def rows() -> Iterator[tuple[str, str, str]]:
    few, many = town(FEW), town(MANY)
    spread = range(0, MANY, MANY // FEW)
    cases = {"few": (few, range(FEW)), "spread": (many, spread), "all": (town(MANY), range(MANY))}
    gc.collect()
    gc.freeze()  # as a nest does that has started: what lives for ever is not looked through again and again
    best = dict.fromkeys(cases, 1.0)
    alone = 1.0
    ratios: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(ROUNDS):  # interleaved, so that what else the machine does meets all alike
        fcnt, began = 1 + turn * COUNT, 100.0 + turn * 1_000
        spent = {name: one_round(server, senders, fcnt, began) for name, (server, senders) in cases.items()}
        alone = min(alone, crypto_alone())
        for name, seconds in spent.items():
            best[name] = min(best[name], seconds)
            ratios[name].append(seconds / spent["few"])
    gc.unfreeze()
    us = {name: f"{seconds * 1e6:.1f}" for name, seconds in best.items()}
    ratio = {name: f"{sorted(values)[ROUNDS // 2]:.2f}" for name, values in ratios.items()}
    yield f"core: us per uplink, {FEW} nodes", f"<= {ASKED_US:.0f}", us["few"]
    yield "  MIC and decryption alone, for comparison", "", f"{alone * 1e6:.1f}"
    yield f"  times that, {FEW} of {MANY} nodes send", f"<= {ASKED_RATIO}", f"{ratio['spread']} ({us['spread']} us)"
    yield f"  times that, all {MANY} send, nothing is warm", "", f"{ratio['all']} ({us['all']} us)"


if __name__ == "__main__":
    for figure, wanted, measured in rows():
        print(f"  {figure:<58} asked {wanted:<14} measured {measured}")
