"""A million malformed datagrams and WebSocket messages into the forwarders. FUZZ_SEED sets the seed.

What real forwarders send (tests/gateway/forwarders/corpus) is spoilt and fed in. It is asserted that no exception
escapes; that what comes out is what the network server may be given; that strangers get no answer, an address that a
gateway is not tied to never more bytes than it sent, and downlinks go to the tied address only; that nothing grows.

    python -m tests.benchmarks.fuzz_gateways udp 1000 7      one share: what, how many, seed; says what happened as JSON
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import math
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nest.forwarders import basics_station, gateways, semtech_packets, station_messages
from nest.forwarders.basics_station import BasicsStation
from nest.forwarders.gateways import MAX_STRANGERS, Allowance, Gateways
from nest.forwarders.semtech_udp import MAX_IN_FLIGHT, SemtechUdp
from nest.model import Downlink, GatewayInfo, RadioFrame

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.spoiler import Spoiler

SEED = int(os.environ.get("FUZZ_SEED", "2026"))
DATAGRAMS, MESSAGES, BY_SOCKET = 700_000, 300_000, 10_000
SHARES = 10
FLAT_MB = 4.0

CORPUS = Path(__file__).resolve().parents[1] / "gateway" / "forwarders" / "corpus"
EUI, LOOSE, TOKEN = "a84041ffff1ec39f", "a84041ffff1ec3a0", "a84041ffff1ec3a1"
HOME, AWAY = "192.0.2.1", "198.51.100.7"
STEP_S = 0.005  # between two datagrams: what a gateway's allowance makes up for one without use
MONTH_S = 31 * 86_400.0

STATION_MESSAGES: tuple[dict[str, Any], ...] = (
    {"msgtype": "version", "station": "2.0.6(rpi/std)", "firmware": "", "package": "", "model": "rpi", "protocol": 2,
     "features": "rmtsh gps prod"},
    {"msgtype": "updf", "MHdr": 64, "DevAddr": 654311497, "FCtrl": 128, "FCnt": 44, "FOpts": "", "FPort": 102,
     "FRMPayload": "B9", "MIC": -1355550607, "RefTime": 1596649302.3, "DR": 5, "Freq": 867900000,
     "upinfo": {"rctx": 0, "xtime": 67835476298353940, "gpstime": 0, "fts": -1, "rssi": -37, "snr": 9.25}},
    {"msgtype": "jreq", "MHdr": 0, "JoinEui": "0-0-0-1", "DevEui": "58-A0-CB-FF-FE-80-0F-8A", "DevNonce": 7,
     "MIC": 12345, "DR": 0, "Freq": 868100000,
     "upinfo": {"rctx": 1, "xtime": 67835476298353941, "gpstime": 1, "rssi": -120.5, "snr": -18}},
    {"msgtype": "propdf", "FRMPayload": "E0112233", "DR": 3, "Freq": 868300000,
     "upinfo": {"rctx": 0, "xtime": 67835476298353942, "rssi": -80, "snr": 1}},
    {"msgtype": "dntxed", "diid": 3, "DevEui": "58-A0-CB-FF-FE-80-0F-8A", "rctx": 0, "xtime": 67835476298353943,
     "txtime": 1596649303.1, "gpstime": 0, "DR": 5, "Freq": 867900000},
    {"msgtype": "timesync", "txtime": 1234567},
    {"router": "58a0:cbff:fe80:f8a"},
)  # fmt: skip


def rows() -> Iterator[tuple[str, str, str]]:
    """The figures for `make bench`."""
    shares = [("udp", DATAGRAMS // SHARES), ("station", MESSAGES // SHARES)] * SHARES + [("socket", BY_SOCKET)]
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(_in_a_process, what, count, SEED + i) for i, (what, count) in enumerate(shares)]
        said = [share.result() for share in running]
    seconds = time.monotonic() - began
    good = [json.loads(text) for text in said if text.startswith("{")]
    for text in said:
        if not text.startswith("{"):
            print(text, flush=True)
    fed = Counter[str]()
    for share in good:
        fed[share["what"]] += share["fed"]
    rate = f"{fed.total()} in {seconds:.0f} s, seed {SEED}"
    yield "malformed datagrams and WebSocket messages", f">= {DATAGRAMS + MESSAGES}", rate
    yield "  datagrams / messages / through a socket", "", f"{fed['udp']} / {fed['station']} / {fed['socket']}"
    yield "  frames among them that could be read", "", str(sum(share["frames"] for share in good))
    yield "exceptions, answers to strangers or of more bytes", "0", str(len(said) - len(good))
    growth = max((share["growth_mb"] for share in good), default=math.inf)
    yield "memory grown after the first third, worst share (MB)", f"<= {FLAT_MB}", f"{growth:.1f}"


def _in_a_process(what: str, count: int, seed: int) -> str:
    command = [sys.executable, "-m", "tests.benchmarks.fuzz_gateways", what, str(count), str(seed)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[2], timeout=3600
    )
    return done.stdout.strip() if done.returncode == 0 else f"{' '.join(command[2:])}: {done.stdout}{done.stderr}"


def corpus() -> list[bytes]:
    """Datagrams of real forwarders."""
    return [bytes.fromhex(json.loads(path.read_text("utf-8"))["datagram"]) for path in sorted(CORPUS.glob("*.json"))]


class FakeNest:
    """The network server's side: takes frames if they are what it may be given, and answers this and that."""

    def __init__(self, spoiler: Spoiler, clock: Callable[[], float]) -> None:
        self.chance, self.clock = spoiler.chance, clock
        self.frames = 0
        self.waiting: list[Callable[[], None]] = []
        self.refuses = True

    def on_frames(self, frames: Sequence[RadioFrame], stored: Callable[[], None] | None) -> int | None:
        assert frames
        now = self.clock()
        for frame in frames:
            assert type(frame.phy) is bytes
            assert 0 < len(frame.phy) <= 255
            assert type(frame.freq_hz) is int
            assert type(frame.sf) is int
            assert math.isfinite(frame.rssi)
            assert frame.snr is None or math.isfinite(frame.snr)
            assert frame.tmst is None or 0 <= frame.tmst < 1 << 32
            assert now - MONTH_S < frame.received_at <= now
            assert frame.buffered == (frame.received_at < now)
        self.frames += len(frames)
        way = self.chance.random()
        if way < 0.02 and self.refuses:
            return None
        if stored is not None:
            if way < 0.5:
                stored()
            else:
                self.waiting.append(stored)
        return self.chance.randrange(len(frames) + 1)

    def on_drained(self) -> None:
        for stored in self.waiting:
            stored()
        self.waiting.clear()


class Wire:
    """In place of the UDP socket: how many bytes each address has been sent beyond what came from it."""

    def __init__(self) -> None:
        self.surplus: Counter[Any] = Counter()
        self.downlinks = 0
        self.token = b"\0\0"  # of the latest downlink

    def sendto(self, datagram: bytes, address: Any) -> None:
        if datagram[3] == semtech_packets.PULL_RESP:
            assert address[0] == HOME, "a downlink for somebody else"
            self.downlinks += 1
            self.token = datagram[1:3]
            return
        assert len(datagram) == 4
        self.surplus[address] += 4
        assert self.surplus[address] <= 0, "more bytes than were received"


class UdpFuzz:
    """An endpoint with one gateway tied to HOME, one tied to nobody, and one with a token."""

    def __init__(self, seed: int) -> None:
        self.spoiler = Spoiler(seed)
        self.now = 1000.0
        self.nest = FakeNest(self.spoiler, lambda: self.now + 1.76e9)
        self.gateways = Gateways(
            [GatewayInfo(EUI, "Home"), GatewayInfo(LOOSE, "Loose"), GatewayInfo(TOKEN, "Token", token="ab" * 32)]
        )
        self.wire = Wire()
        self.udp = SemtechUdp(
            self.gateways, self.nest.on_frames, self.nest.on_drained, lambda *_: None,
            clock=lambda: self.now + 1.76e9, monotonic=lambda: self.now,
        )  # fmt: skip
        self.udp._socket = self.wire  # type: ignore[assignment]
        self.pull = bytes([2, 0, 7, semtech_packets.PULL_DATA]) + bytes.fromhex(EUI)
        self.downlink = Downlink(EUI, 5, 868_100_000, 7, 125_000, 16.0, bytes(17), bytes(8), 1)
        self.corpus = corpus()

    def datagram(self) -> bytes:
        """The next one, spoilt."""
        chance, datagram = self.spoiler.chance, self.spoiler.chance.choice(self.corpus)
        way = chance.random()
        if way < 0.1:
            return self.spoiler.raw(datagram)
        head, text = datagram[:12], datagram[12:]
        if head[3] == semtech_packets.TX_ACK and way < 0.7:
            head = head[:1] + self.wire.token + head[3:]
        if way < 0.25:
            eui = bytes.fromhex(chance.choice((LOOSE, TOKEN))) if way < 0.2 else chance.randbytes(8)
            head = head[:4] + eui
        return (head + self.spoiler.text(text))[:65_507]

    def feed(self, count: int) -> None:
        """Feed so many."""
        chance, udp = self.spoiler.chance, self.udp
        home, away = (HOME, 4001), (AWAY, 4001)
        for i in range(count):
            self.now += STEP_S
            if i % 500 == 0:  # the true gateway keeps its way open, whatever goes on
                self.now += 20  # a long time without, but not long enough for another
                self._take(self.pull, home)
                self.nest.on_drained()
                self._look()
            if i % 50 == 0:
                for gateway in self.gateways.known.values():
                    gateway.allowance = Allowance()
                assert udp.send(self.downlink), "the true gateway has lost its way"
            address = chance.choice((home, home, home, home, (HOME, 4002), away, (AWAY, 1 + i % 65_535)))
            datagram = self.datagram()
            tied = datagram[4:12] == bytes.fromhex(EUI)
            before = len(self.nest.waiting), self.wire.surplus[address], self.nest.frames
            self._take(datagram, address)
            if (address[0] == AWAY and tied) or datagram[4:12].hex() not in (EUI, LOOSE):
                after = len(self.nest.waiting), self.wire.surplus[address] + len(datagram), self.nest.frames
                assert after == before, "a stranger was answered"

    def _take(self, datagram: bytes, address: Any) -> None:
        self.wire.surplus[address] -= len(datagram)
        self.udp.take(datagram, address)

    def _look(self) -> None:
        """Nothing grows."""
        assert self.udp.counters.keys() <= semtech_packets.KINDS.keys() | gateways.KINDS.keys()
        assert len(self.gateways.strangers) <= MAX_STRANGERS
        assert len(self.udp._in_flight) <= MAX_IN_FLIGHT
        assert len(self.udp._paths) <= 2
        self.wire.surplus.clear()
        for gateway in self.gateways.known.values():
            assert gateway.stat is None or len(json.dumps(gateway.stat)) < 1000


class StationFuzz:
    """A connected Basics Station that sends nonsense. Lives in an event loop."""

    def __init__(self, seed: int) -> None:
        self.spoiler = Spoiler(seed)
        self.nest = FakeNest(self.spoiler, time.time)
        self.nest.refuses = False  # it would be waited for
        self.gateway = Gateways().admit(GatewayInfo(EUI, "Church", token="ab" * 32))
        known = Gateways()
        known.known[EUI] = self.gateway
        self.endpoint = BasicsStation(
            known, _NetSettings(), self.nest.on_frames, self.nest.on_drained, lambda *_: None, clock=lambda: self.now
        )
        self.nest.clock = lambda: self.now
        self.now = 1.76e9
        self.link = basics_station._Link(None, self.gateway)  # type: ignore[arg-type]
        self.endpoint._links[EUI] = self.link
        self.corpus = [json.dumps(message).encode() for message in STATION_MESSAGES]

    async def feed(self, count: int) -> None:
        """Feed so many."""
        for i in range(count):
            self.now += STEP_S
            text = self.spoiler.text(self.spoiler.chance.choice(self.corpus))
            if i % 10 == 0:
                with contextlib.suppress(station_messages.MalformedError):
                    assert len(station_messages.parse_router(text)) == 16
            else:
                message = text if i % 2 else text.decode("utf-8", "surrogateescape")
                await self.endpoint._take(self.link, message)
            while not self.link.out.empty():
                assert len(self.link.out.get_nowait()) < 4096
            if i % 100 == 0:
                self.gateway.allowance = Allowance()
                xtime = 67835476298353940 + i
                self.endpoint.send(
                    Downlink(EUI, 5, 868_100_000, 7, 125_000, 16.0, bytes(17), bytes(8), 1, i % 50, context=(0, xtime))
                )
                await asyncio.sleep(0)
        kinds = basics_station.KINDS.keys() | gateways.KINDS.keys()
        assert self.endpoint.counters.keys() <= kinds
        for _, timer in self.endpoint._in_flight.values():
            timer.cancel()


class _NetSettings:
    net_id = 0


class _Endless(Allowance):
    def left(self, now: float) -> bool:
        return True


class SocketFuzz(UdpFuzz):
    """The same through loopback, from one address. Lives in an event loop."""

    async def feed_by_socket(self, count: int) -> None:
        """Feed so many, each fifty followed by a good one, which is answered."""
        nest = self.nest
        nest.clock = time.time
        for gateway in self.gateways.known.values():
            gateway.allowance = _Endless()
        udp = await SemtechUdp.listen("127.0.0.1", 0, self.gateways, self._count, nest.on_drained, lambda *_: None)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("127.0.0.1", udp.port))
            sender.setblocking(False)
            loop = asyncio.get_running_loop()
            for i in range(count):
                datagram = self.datagram()
                sender.send(datagram)
                if i % 50 == 0:
                    sender.send(b"\x02\xfe\xdc" + self.pull[3:])
                    async with asyncio.timeout(30):
                        while await loop.sock_recv(sender, 65_536) != b"\x02\xfe\xdc\x04":
                            pass
        udp.close()

    def _count(self, frames: Sequence[RadioFrame], stored: Callable[[], None] | None) -> int:
        self.nest.frames += len(frames)
        if stored is not None:
            self.nest.waiting.append(stored)
        return len(frames)


def memory_mb() -> float:
    """What this process holds now."""
    gc.collect()
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(what: str, count: int, seed: int) -> dict[str, Any]:
    """One share, the memory measured after its first third, when tables and caches have filled, and at its end."""
    first = count // 3
    if what == "udp":
        udp = UdpFuzz(seed)
        udp.feed(first)
        before = memory_mb()
        udp.feed(count - first)
        after, frames = memory_mb(), udp.nest.frames
    else:
        before, after, frames = asyncio.run(_in_a_loop(what, count, first, seed))
    return {"what": what, "fed": count, "frames": frames, "growth_mb": round(after - before, 1)}


async def _in_a_loop(what: str, count: int, first: int, seed: int) -> tuple[float, float, int]:
    fuzz = StationFuzz(seed) if what == "station" else SocketFuzz(seed)
    feed = fuzz.feed if isinstance(fuzz, StationFuzz) else fuzz.feed_by_socket
    await feed(first)
    before = memory_mb()
    await feed(count - first)
    return before, memory_mb(), fuzz.nest.frames


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
