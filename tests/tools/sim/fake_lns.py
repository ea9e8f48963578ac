"""A network server that speaks the LNS protocol, written from its manual: what it is told it keeps, what it says is up
to the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

CONFIG: dict[str, Any] = {
    "msgtype": "router_config",
    "NetID": None,
    "JoinEui": None,
    "region": "EU868",
    "hwspec": "sx1301/1",
    "freq_range": [863_000_000, 870_000_000],
    "DRs": [[12, 125, 0], [11, 125, 0], [10, 125, 0], [9, 125, 0], [8, 125, 0], [7, 125, 0], [7, 250, 0], [0, 0, 0]]
    + [[-1, 0, 0]] * 8,
    "sx1301_conf": [
        {
            "radio_0": {"enable": True, "freq": 867_500_000},
            "radio_1": {"enable": True, "freq": 868_500_000},
            "chan_Lora_std": {
                "enable": True, "radio": 1, "if": -200_000, "bandwidth": 250_000, "spread_factor": 7,
            },
            **{
                f"chan_multiSF_{number}": {"enable": True, "radio": radio, "if": offset}
                for number, (radio, offset) in enumerate(
                    [(0, offset) for offset in range(-400_000, 400_001, 200_000)]
                    + [(1, offset) for offset in range(-400_000, 1, 200_000)]
                )
            },
        }
    ],
}  # fmt: skip


@dataclass
class FakeLns:
    """`config`: what a station is told, None: nothing; `answer`: to the discovery, "{uri}" for our own address."""

    config: dict[str, Any] | None = field(default_factory=lambda: dict(CONFIG))
    answer: dict[str, Any] = field(default_factory=lambda: {"router": "::1", "muxs": "::0", "uri": "{uri}"})
    questions: list[Any] = field(default_factory=list)
    headers: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    connection: ServerConnection | None = None
    server: Server | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def address(self) -> str:
        assert self.server
        return f"ws://127.0.0.1:{next(iter(self.server.sockets)).getsockname()[1]}"

    async def handle(self, connection: ServerConnection) -> None:
        assert connection.request
        self.paths.append(connection.request.path)
        self.headers.append(connection.request.headers.get("Authorization"))
        try:
            if connection.request.path == "/router-info":
                self.questions.append(json.loads(await connection.recv()))
                text = json.dumps(self.answer).replace("{uri}", self.address + "/here/it/is")
                self.changed.set()
                await connection.send(text)
                return
            self.connection = connection
            async for text in connection:
                message = json.loads(text)
                self.messages.append(message)
                if message["msgtype"] == "version" and self.config is not None:
                    await connection.send(json.dumps(self.config))
                self.changed.set()
        except ConnectionClosed:
            pass

    async def say(self, message: dict[str, Any]) -> None:
        assert self.connection
        await self.connection.send(json.dumps(message))

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["msgtype"] == kind]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds; checked after every message."""
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def fake_lns(**settings: Any) -> AsyncIterator[FakeLns]:
    lns = FakeLns(**settings)
    async with serve(lns.handle, "127.0.0.1", 0, compression=None, close_timeout=0.2) as server:
        lns.server = server
        yield lns
