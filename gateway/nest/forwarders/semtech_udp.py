"""The Semtech UDP packet forwarder protocol, server side (signatures; the codec follows)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nest.model import Downlink, RadioFrame

OnFrame = Callable[[RadioFrame], None]
OnTxAck = Callable[[Downlink, "str | None"], None]


@dataclass(slots=True)
class Gateway:
    """What is known of one gateway."""

    eui: str
    version: int = 2
    last_seen: float = 0.0  # Unix time of its last datagram
    pull_address: Any = None  # where downlinks go; None until its first PULL_DATA
    frames: int = 0  # rxpk taken over
    downlinks: int = 0  # PULL_RESP sent
    stat: dict[str, Any] | None = None  # its latest "stat" object, cleaned


class SemtechUdp(asyncio.DatagramProtocol):
    """The UDP endpoint; use `await SemtechUdp.listen(host, port, on_frame, on_tx_ack)`."""

    counters: dict[str, int]
    gateways: dict[str, Gateway]
    port: int  # the UDP port in use

    def __init__(self, on_frame: OnFrame, on_tx_ack: OnTxAck, counters: dict[str, int] | None = None) -> None:
        raise NotImplementedError

    @classmethod
    async def listen(
        cls, host: str, port: int, on_frame: OnFrame, on_tx_ack: OnTxAck, counters: dict[str, int] | None = None
    ) -> SemtechUdp:
        """Open the socket. Raises OSError (occupied port). Port 0: a free one; see `port`."""
        raise NotImplementedError

    def send(self, downlink: Downlink) -> bool:
        """PULL_RESP to the gateway. False: it has sent no PULL_DATA yet, so there is no way to it
        (call `server.transmit_result(downlink, "NO_DOWNLINK_PATH", now)`)."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
