"""The UDP endpoint without a socket and in virtual time, for tests: what was sent where, what was handed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nest.forwarders.gateways import Gateways
from nest.forwarders.semtech_udp import SemtechUdp
from nest.model import Downlink, GatewayInfo, RadioFrame

from .test_semtech_packets import EUI, PHY, RXPK

PULL = bytes([2, 0, 7, 2]) + bytes.fromhex(EUI)
PUSH_ACK, PULL_ACK = b"\x02\x12\x34\x01", b"\x02\x00\x07\x04"
DOWNLINK = Downlink(EUI, 1_000_000, 868_100_000, 7, 125_000, 16.0, PHY, bytes(8), 1, id=3)
LIVE = {name: value for name, value in RXPK.items() if name != "time"}

HOME, HOME_UP, HOME_MOVED, HOME_AGAIN = (("192.0.2.1", port) for port in (4001, 4002, 4003, 4004))
AWAY = ("198.51.100.7", 4001)


class Wire:
    """In place of a socket."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []

    def sendto(self, datagram: bytes, address: Any) -> None:
        self.sent.append((datagram, address))

    def recvfrom(self, size: int) -> tuple[bytes, Any]:
        raise BlockingIOError


class Nest:
    """An endpoint without a socket; `useful` is what the network server makes of frames."""

    def __init__(self, *infos: GatewayInfo) -> None:
        self.now = 50_000.0
        self.unix_ahead = 1_760_000_000.0
        self.frames: list[RadioFrame] = []
        self.stored: list[Callable[[], None]] = []
        self.results: list[tuple[Downlink, str | None, int | None]] = []
        self.useful: Callable[[int], int | None] = lambda count: count
        self.gateways = Gateways(infos or [GatewayInfo(EUI, "Rathaus")])
        self.wire = Wire()
        self.udp = SemtechUdp(
            self.gateways,
            self.on_frames,
            lambda: None,
            lambda *result: self.results.append(result),
            clock=lambda: self.now + self.unix_ahead,
            monotonic=lambda: self.now,
        )
        self.udp._socket = self.wire  # type: ignore[assignment]

    @property
    def gateway(self) -> Any:
        return self.gateways.known[EUI]

    def on_frames(self, frames: Sequence[RadioFrame], stored: Callable[[], None] | None) -> int | None:
        useful = self.useful(len(frames))
        if useful is not None:
            self.frames += frames
            assert stored is not None
            self.stored.append(stored)
        return useful

    def commit(self) -> None:
        for stored in self.stored:
            stored()
        self.stored.clear()

    def hear(self, datagram: bytes, address: Any = HOME) -> list[bytes]:
        """What was sent because of a datagram, all of it to its sender."""
        self.wire.sent.clear()
        self.udp.take(datagram, address)
        assert all(to == address for _, to in self.wire.sent)
        return [answer for answer, _ in self.wire.sent]

    def downlink_goes_to(self) -> Any:
        """Where a downlink is sent; None: it is not."""
        self.wire.sent.clear()
        return self.wire.sent[-1][1] if self.udp.send(DOWNLINK) else None

    def counted(self) -> dict[str, int]:
        return {kind: count for kind, count in self.udp.counters.items() if count}
