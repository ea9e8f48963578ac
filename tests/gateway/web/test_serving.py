"""The web server beside the gateways: whoever occupies connections or threads does not stop the others."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from nest.web import serving
from nest.web.serving import Server


@pytest.fixture
async def port(app: FastAPI) -> AsyncIterator[int]:
    """A server of the application, on this port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(app)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        await server.ready.wait()
        yield listening.getsockname()[1]
        server.end()
        await task


async def is_cut_off(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(20):
            return not await reader.read()
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\nHost: nest\r\nX-Slow: ", b"GET /health HTTP/1.1\r\nHost: nest\r\n\r\nGET / HT"]
)
async def test_a_connection_that_does_not_ask_is_cut_off(
    port: int, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(serving, "HEAD_S", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    if b"/health" in said:
        assert b"200" in await reader.readline()
        async with asyncio.timeout(20):
            await reader.readuntil(b"}")
    assert await is_cut_off(reader)
    writer.close()


async def test_who_says_nothing_makes_room_for_who_asks(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MOST_CONNECTIONS", 20)
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(30)]
    assert any([await is_cut_off(reader) for reader, _ in silent[:1]])
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/health")).status_code == 200
    for _, writer in silent:
        writer.close()


async def test_few_requests_are_worked_on_at_once(app: FastAPI, port: int) -> None:
    running, most, enough, go_on = 0, 0, threading.Event(), threading.Event()
    lock = threading.Lock()

    @app.get("/slow")
    def slow() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running >= serving.THREADS:
                enough.set()
        go_on.wait(20)
        with lock:
            running -= 1

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        asked = [asyncio.create_task(client.get("/slow")) for _ in range(3 * serving.THREADS)]
        assert await asyncio.to_thread(enough.wait, 20)
        assert (await client.get("/health")).status_code == 200  # it has threads of its own
        go_on.set()
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    assert most == serving.THREADS
