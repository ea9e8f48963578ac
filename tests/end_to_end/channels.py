"""The way between gateways and nest as it is in life: datagrams that are lost, late, doubled and overtaken, a router
that forgets ports, and somebody who listens in and means no good. Everything is drawn from a seed.

    gateways --- Channel (loopback) --- nest
                    |  sees and injects
                 Attacker --- nest, from an address of his own (127.0.0.2)
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import socket
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spatz.sim.air import Missed, Reception, Transmission
from spatz.sim.simulation import Simulation

Address = tuple[str, int]

PUSH_DATA, PUSH_ACK, PULL_DATA, PULL_RESP, PULL_ACK, TX_ACK = range(6)
JOIN_REQUEST, UNCONFIRMED_UP, CONFIRMED_UP = 0b000, 0b010, 0b100
ELSEWHERE = "127.0.0.2"


def can_attack() -> bool:
    """Whether this machine has a second loopback address, as Linux has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((ELSEWHERE, 0))
        except OSError:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Faults:
    """What happens to datagrams in one direction; all but the times are fractions of them, 0..1.

    `late` come only `late_s` later; `copied` come once more, `copy_s` later; `overtaken` are held back for up to
    `overtaken_s`, so that others pass them.
    """

    loss: float = 0.0
    late: float = 0.0
    late_s: float = 2.0
    copied: float = 0.0
    copy_s: float = 0.0
    overtaken: float = 0.0
    overtaken_s: float = 0.4


@dataclass(eq=False)
class Way:
    """One socket of one gateway, and the port that a router has lent it."""

    source: Address
    transport: asyncio.DatagramTransport | None = None
    injected: set[bytes] = field(default_factory=set)  # tokens that the gateway never sent

    def send(self, datagram: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.sendto(datagram)


class Channel:
    """A UDP proxy on the loopback. Gateways send to `port`; what passes has the faults `up` and `down`.

    `moves_s`: about so often the router forgets a port, and the gateway goes on from another. `watch` is told each
    datagram that a gateway sends, whatever becomes of it. `counts` counts what was done, and the kinds that passed.
    """

    def __init__(
        self,
        server: Address,
        up: Faults = Faults(),
        down: Faults = Faults(),
        *,
        seed: int,
        moves_s: float | None = None,
    ) -> None:
        self.server, self.up, self.down = server, up, down
        self.counts: Counter[str] = Counter()
        self.watch: Callable[[Way, bytes], None] = lambda _way, _datagram: None
        self._chance = random.Random(seed)  # noqa: S311  to be repeated
        self._moves_s = moves_s
        self._ways: dict[Address, Way] = {}
        self._held: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> int:
        """Returns the port that gateways send to."""
        loop = asyncio.get_running_loop()
        self._front, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._from_gateway), local_addr=("127.0.0.1", 0)
        )
        if self._moves_s is not None:
            self._start(self._move_now_and_then(self._moves_s))
        return self._front.get_extra_info("sockname")[1]

    async def close(self) -> None:
        """What is still under way is lost."""
        for handle in self._held:
            handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for transport in (self._front, *(way.transport for way in self._ways.values())):
            if transport is not None:
                transport.close()

    def inject(self, way: Way, datagram: bytes) -> None:
        """Send something as if the gateway had sent it, without faults; it never hears of an answer."""
        way.injected.add(datagram[1:3])
        way.send(datagram)

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _from_gateway(self, datagram: bytes, source: Address) -> None:
        way = self._ways.get(source)
        if way is None:
            way = self._ways[source] = Way(source)
            self._start(self._open_and_pass(way, datagram))
            return
        self._pass_up(way, datagram)

    async def _open_and_pass(self, way: Way, datagram: bytes) -> None:
        await self._lend_port(way)
        self._pass_up(way, datagram)

    async def _lend_port(self, way: Way) -> None:
        before = way.transport
        way.transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(lambda datagram, _: self._from_server(way, datagram)), remote_addr=self.server
        )
        if before is not None:
            before.close()

    async def _move_now_and_then(self, moves_s: float) -> None:
        while True:
            await asyncio.sleep(moves_s * self._chance.uniform(0.5, 1.5))
            if self._ways:
                await self._lend_port(self._chance.choice(list(self._ways.values())))
                self.counts["moved"] += 1

    def _pass_up(self, way: Way, datagram: bytes) -> None:
        self.watch(way, datagram)
        self._pass(self.up, "up", lambda: way.send(datagram))

    def _from_server(self, way: Way, datagram: bytes) -> None:
        if datagram[3] == PUSH_ACK and datagram[1:3] in way.injected:
            return
        self._pass(self.down, "down", lambda: self._front.sendto(datagram, way.source))

    def _pass(self, faults: Faults, direction: str, send: Callable[[], None]) -> None:
        chance = self._chance
        if chance.random() < faults.loss:
            self.counts[f"{direction}_lost"] += 1
            return
        delay_s = 0.0
        if chance.random() < faults.late:
            delay_s = faults.late_s
            self.counts[f"{direction}_late"] += 1
        elif chance.random() < faults.overtaken:
            delay_s = chance.uniform(0.0, faults.overtaken_s)
            self.counts[f"{direction}_overtaken"] += 1
        self._send_in(delay_s, send)
        if chance.random() < faults.copied:
            self.counts[f"{direction}_copied"] += 1
            self._send_in(delay_s + faults.copy_s, send)

    def _send_in(self, delay_s: float, send: Callable[[], None]) -> None:
        if delay_s <= 0:
            send()
            return

        def due() -> None:
            self._held.discard(handle)
            send()

        handle = asyncio.get_running_loop().call_later(delay_s, due)
        self._held.add(handle)


class Attacker:
    """Somebody within reach of a node and of the nest, who has no key.

    On the air he makes gateways hear (all of it through `channel`, as those gateways' own): ghosts of each frame on
    neighbour channels, damaged copies, copies of old frames and JoinRequests, forged frames with the right DevAddr.
    From an address of his own he speaks to the nest in the gateways' names. `received` is what the nest answered.
    """

    def __init__(self, channel: Channel, gateways: Iterable[bytes], *, seed: int) -> None:
        self.received: list[bytes] = []
        self.counts: Counter[str] = Counter()
        self._channel, self._euis = channel, list(gateways)
        self._chance = random.Random(seed)  # noqa: S311  to be repeated
        self._joins: list[dict[str, Any]] = []
        self._data: list[dict[str, Any]] = []
        self._ways: dict[bytes, Way] = {}
        self._seen: set[str] = set()

    async def start(self) -> None:
        self._own, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(lambda datagram, _: self.received.append(datagram)),
            local_addr=(ELSEWHERE, 0),
            remote_addr=self._channel.server,
        )
        self._channel.watch = self._overhear
        self._task = asyncio.create_task(self._attack())

    async def stop(self) -> None:
        self._channel.watch = lambda _way, _datagram: None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._own.close()

    def _overhear(self, way: Way, datagram: bytes) -> None:
        if datagram[3] != PUSH_DATA:
            return
        eui = datagram[4:12]
        self._ways[eui] = way
        for rxpk in json.loads(datagram[12:]).get("rxpk", ()):
            if rxpk["data"] in self._seen:
                continue
            self._seen.add(rxpk["data"])
            phy = base64.b64decode(rxpk["data"])
            (self._joins if phy[0] >> 5 == JOIN_REQUEST else self._data).append(rxpk)
            self._on_the_air(eui, rxpk, phy)

    def _on_the_air(self, eui: bytes, rxpk: dict[str, Any], phy: bytes) -> None:
        """What the gateway hears beside the frame, some of it before the frame itself has come through."""
        chance = self._chance
        for step_mhz in (-0.2, 0.2):
            if chance.random() < 0.5:
                ghost = {**rxpk, "freq": round(rxpk["freq"] + step_mhz, 4), "rssi": rxpk["rssi"] - 45, "lsnr": -6.5}
                self._push(eui, "ghost", ghost)
        if chance.random() < 0.5:
            self._push(eui, "crc_bad", _with(rxpk, _damaged(phy, chance)), stat=-1)
        if phy[0] >> 5 in (UNCONFIRMED_UP, CONFIRMED_UP):
            fcnt = (int.from_bytes(phy[6:8], "little") + chance.randint(0, 40)) & 0xFFFF
            forged = phy[:6] + fcnt.to_bytes(2, "little") + phy[8:-4] + chance.randbytes(4)
            self._push(eui, "forged", _with(rxpk, forged))
        else:
            self._push(eui, "forged_join", _with(rxpk, phy[:17] + chance.randbytes(6)))

    async def _attack(self) -> None:
        chance = self._chance
        while True:
            await asyncio.sleep(chance.uniform(0.02, 0.2))
            eui = chance.choice(self._euis)
            rxpk = chance.choice(self._joins or [None])
            self._speak_for(eui, "pull", PULL_DATA)
            self._speak_for(eui, "tx_ack", TX_ACK, {"txpk_ack": {"error": "TOO_LATE"}})
            if rxpk is not None:
                self._speak_for(eui, "push", PUSH_DATA, {"rxpk": [_later(rxpk)]})
                self._push(eui, "replayed_join", _later(rxpk))
            if self._data:
                old = chance.choice(self._data)
                self._speak_for(eui, "push", PUSH_DATA, {"rxpk": [_later(old)]})
                self._push(eui, "replayed", _later(old))

    def _push(self, eui: bytes, what: str, rxpk: dict[str, Any], **fields: object) -> None:
        """In the gateway's own datagrams."""
        way = self._ways.get(eui)
        if way is not None:
            self.counts[what] += 1
            self._channel.inject(way, self._datagram(eui, PUSH_DATA, {"rxpk": [{**rxpk, **fields}]}))

    def _speak_for(self, eui: bytes, what: str, kind: int, content: dict[str, Any] | None = None) -> None:
        """From the own address."""
        self.counts[f"spoofed_{what}"] += 1
        self._own.sendto(self._datagram(eui, kind, content))

    def _datagram(self, eui: bytes, kind: int, content: dict[str, Any] | None) -> bytes:
        body = json.dumps(content).encode() if content else b""
        return b"\x02" + self._chance.randbytes(2) + bytes((kind,)) + eui + body


class Witness:
    """Knows what the nodes really sent, and what of it a gateway heard: the truth that the archive is held against."""

    def __init__(self) -> None:
        self.heard: dict[bytes, str] = {}  # PHYPayload of a data frame -> node
        self.asked: dict[str, set[int]] = defaultdict(set)  # node -> DevNonces of its JoinRequests

    def follow(self, simulation: Simulation) -> None:
        """Look on at the air of a simulation."""
        told = simulation.air._on_transmission

        def on_transmission(transmission: Transmission, outcomes: dict[str, Reception | Missed]) -> None:
            phy = transmission.data
            if phy[0] >> 5 == JOIN_REQUEST:
                self.asked[transmission.sender].add(int.from_bytes(phy[17:19], "little"))
            elif any(isinstance(outcome, Reception) for outcome in outcomes.values()):
                self.heard[phy] = transmission.sender
            if told:
                told(transmission, outcomes)

        simulation.air._on_transmission = on_transmission

    def missing(self, folder: Path) -> dict[bytes, str]:
        """What was heard and is not archived."""
        archived = {phy for (phy,) in _rows(folder, "select phy from frames")}
        return {phy: node for phy, node in self.heard.items() if phy not in archived}

    def foreign(self, folder: Path) -> int:
        """How many frames are archived that no node has sent."""
        return sum(phy not in self.heard for (phy,) in _rows(folder, "select phy from frames"))


def joins(folder: Path) -> dict[str, list[int]]:
    """Node -> the DevNonces that the nest has answered."""
    found: dict[str, list[int]] = defaultdict(list)
    query = "select slug, dev_nonce from joins join nodes on nodes.id = joins.node_id order by join_nonce"
    for slug, dev_nonce in _rows(folder, query):
        found[slug].append(dev_nonce)
    return found


def doubled(folder: Path) -> int:
    """How many frames are archived more than once."""
    return len(_rows(folder, "select phy from frames group by phy having count(*) > 1"))


def _rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "nest.db", timeout=10) as database:
        return database.execute(query).fetchall()


def _with(rxpk: dict[str, Any], phy: bytes) -> dict[str, Any]:
    return {**rxpk, "data": base64.b64encode(phy).decode(), "size": len(phy)}


def _later(rxpk: dict[str, Any]) -> dict[str, Any]:
    """The same frame, heard once more now: on the air it is at another moment."""
    return {**{key: value for key, value in rxpk.items() if key != "time"}, "tmst": (rxpk["tmst"] + 3_000_000) % 2**32}


def _damaged(phy: bytes, chance: random.Random) -> bytes:
    content = bytearray(phy)
    for _ in range(3):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes, Any], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._take(data, addr)

    def error_received(self, exc: Exception) -> None:
        """The nest is not there at the moment."""
