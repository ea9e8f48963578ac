"""A strict network server on a free UDP port: it answers as PROTOCOL.TXT says, and knows what a gateway may send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Address = tuple[str, int]


@dataclass
class FakeServer(asyncio.DatagramProtocol):
    """Keeps what it was sent. `deaf_pushes` of the next PUSH_DATA are ignored; `on_rxpk` is called for each frame."""

    deaf_pushes: int = 0
    answers: bool = True
    pushes: list[tuple[bytes, dict[str, Any]]] = field(default_factory=list)
    pulls: int = 0
    tx_acks: list[tuple[bytes, dict[str, Any] | None]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    up_address: Address | None = None
    down_address: Address | None = None
    eui: bytes = b""
    on_rxpk: Callable[[dict[str, Any]], None] = lambda rxpk: None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    transport: asyncio.DatagramTransport | None = None
    address: Address = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.address = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if len(data) < 12 or data[0] != 2 or data[3] not in (0, 2, 5):
            self.violations.append(f"header {data[:12].hex()}")
            return
        token, kind, self.eui, body = data[1:3], data[3], data[4:12], data[12:]
        if kind == 0:
            self._push(token, body, addr)
        elif kind == 2:
            if body:
                self.violations.append("PULL_DATA with a body")
            self.pulls += 1
            self.down_address = addr
            self._send(bytes((2, *token, 4)), addr)
        else:
            self.tx_acks.append((token, json.loads(body)["txpk_ack"] if body else None))
        self.changed.set()

    def _push(self, token: bytes, body: bytes, addr: Address) -> None:
        self.up_address = addr
        if self.deaf_pushes:
            self.deaf_pushes -= 1
            return
        content = json.loads(body)
        self._send(bytes((2, *token, 1)), addr)
        self.pushes.append((token, content))
        for rxpk in content.get("rxpk", []):
            missing = {"tmst", "freq", "datr", "codr", "rssi", "lsnr", "size", "data", "stat", "modu"} - set(rxpk)
            if missing or not 0 <= rxpk["tmst"] < 1 << 32:
                self.violations.append(f"rxpk {rxpk}")
            self.on_rxpk(rxpk)

    def _send(self, datagram: bytes, addr: Address) -> None:
        if self.answers and self.transport:
            self.transport.sendto(datagram, addr)

    def pull_resp(self, token: bytes, txpk: dict[str, Any]) -> None:
        """A downlink, to where the last PULL_DATA came from."""
        assert self.transport is not None
        self.transport.sendto(bytes((2, *token, 3)) + json.dumps({"txpk": txpk}).encode(), self.down_address)

    async def until(self, condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        """Wait until the condition holds; checked after every datagram."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def fake_server(**settings: Any) -> AsyncIterator[FakeServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: FakeServer(**settings), local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
