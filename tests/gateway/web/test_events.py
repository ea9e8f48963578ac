"""The stream of events, through a real uvicorn on a free port: arrival, limits, slow clients, the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import uvicorn
from nest.archive import Archive
from nest.live import Live, ReadingEvent
from nest.town import Town
from nest.web import create_app
from nest.web.events import QUEUE_SIZE, EventStreams

NOW = 1_777_636_800.0


class Running:
    """The server in the test's own event loop."""

    def __init__(self, archive: Archive, live: Live, town: Town, streams: EventStreams) -> None:
        self.live, self.streams = live, streams
        app = create_app(archive, live, town, dict, clock=lambda: NOW, streams=streams)
        self.server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
        self.task = asyncio.create_task(self.server.serve())

    async def ready(self) -> None:
        await until(lambda: self.server.started)
        self.port: int = self.server.servers[0].sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.streams.close()
        self.server.should_exit = True
        async with asyncio.timeout(5):
            await self.task

    @contextlib.asynccontextmanager
    async def listen(self) -> AsyncIterator[httpx.Response]:
        before = len(self.streams)
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=10) as client,
            client.stream("GET", "/api/v1/events") as answer,
        ):
            assert answer.status_code != 200 or len(self.streams) == before + 1
            yield answer


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition()`; 5 s are more than enough for anything here."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  uvicorn and Live have no event to wait for
            await asyncio.sleep(0.005)


async def next_block(lines: AsyncIterator[str]) -> list[str]:
    block: list[str] = []
    async for line in lines:
        if not line:
            return block
        block.append(line)
    raise EOFError


@pytest.fixture
def streams() -> EventStreams:
    return EventStreams(max_clients=2)


@pytest.fixture
async def running(archive: Archive, live: Live, town: Town, streams: EventStreams) -> AsyncIterator[Running]:
    running = Running(archive, live, town, streams)
    await running.ready()
    yield running
    if not running.task.done():
        await running.stop()


async def test_a_reading_arrives_at_everybody(running: Running) -> None:
    async with running.listen() as one, running.listen() as two:
        assert one.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in one.headers
        readers = [answer.aiter_lines() for answer in (one, two)]
        assert [await next_block(reader) for reader in readers] == [["retry: 3000"]] * 2
        measured = "2026-05-01T11:59:59.500Z"
        each = {"time": measured, "age_s": 0, "origin": "backfilled"}
        values = {"temperature": 21.4, "humidity": None, "unheard_of": 1.0}
        qualities = {"temperature": "good", "humidity": "out_of_range", "unheard_of": "good"}
        event = ReadingEvent("amsel", NOW - 0.5, values, qualities, origin="backfilled", heard_at=NOW - 0.25)
        running.live.publish(event)
        for reader in readers:
            name, data = await next_block(reader)
            assert name == "event: reading"
            assert json.loads(data.removeprefix("data: ")) == {
                "node": "amsel",
                "time": measured,
                "now": "2026-05-01T12:00:00.000Z",
                "heard_at": "2026-05-01T11:59:59.750Z",
                "origin": "backfilled",
                "values": {
                    "temperature": {"value": 21.4, "unit": "°C", "state": "good", **each},
                    "humidity": {"value": None, "unit": "%", "state": "out_of_range", **each},
                },
            }


async def test_one_too_many_is_asked_to_come_back(running: Running) -> None:
    async with running.listen(), running.listen(), running.listen() as third:
        assert third.status_code == 503
        assert int(third.headers["retry-after"]) > 0
    await until(lambda: len(running.streams) == 0)  # those who went made room
    async with running.listen() as again:
        assert again.status_code == 200


async def test_a_heartbeat_keeps_the_line_open(archive: Archive, live: Live, town: Town) -> None:
    running = Running(archive, live, town, EventStreams(heartbeat_s=0.02))
    await running.ready()
    async with running.listen() as answer:
        lines = answer.aiter_lines()
        blocks = [await next_block(lines) for _ in range(3)]
        assert blocks == [["retry: 3000"], [": still here"], [": still here"]]
    await running.stop()


async def test_the_server_stops_while_somebody_listens(running: Running) -> None:
    async with running.listen() as answer:
        lines = answer.aiter_lines()
        await next_block(lines)
        await running.stop()
        with pytest.raises(EOFError):  # the stream ended as it should; a broken connection would be another error
            await next_block(lines)


async def test_one_odd_event_does_not_silence_the_rest(running: Running) -> None:
    async with running.listen() as answer:
        lines = answer.aiter_lines()
        await next_block(lines)
        running.live.publish(ReadingEvent("amsel", float("nan"), {"temperature": 1.0}))
        running.live.publish(ReadingEvent("amsel", NOW, {"temperature": 2.0}))
        assert '"value":2.0' in (await next_block(lines))[1]


async def test_a_client_that_takes_nothing_is_let_go_and_holds_up_nobody(running: Running) -> None:
    _, stuck = await asyncio.open_connection("127.0.0.1", running.port, limit=1)
    stuck.write(b"GET /api/v1/events HTTP/1.1\r\nHost: nest\r\n\r\n")
    await until(lambda: len(running.streams) == 1)
    stuck.transport.pause_reading()  # type: ignore[attr-defined]
    async with running.listen() as answer:
        lines = answer.aiter_lines()
        await next_block(lines)
        filler = "x" * 100_000  # fills the socket's buffers soon
        sent = 0
        while len(running.streams) == 2:
            running.streams.send("reading", json.dumps({"sent": sent, "filler": filler}))
            assert f'"sent": {sent}' in (await next_block(lines))[1]  # the other one gets each at once
            sent += 1
            assert sent < 1000
    assert sent > QUEUE_SIZE
    stuck.close()


async def test_one_address_gets_its_share_and_no_more(archive: Archive, live: Live, town: Town) -> None:
    running = Running(archive, live, town, EventStreams(max_clients=10, max_of_address=1))
    await running.ready()
    async with running.listen() as first, running.listen() as second:
        assert (first.status_code, second.status_code) == (200, 503)
        assert running.streams.response("203.0.113.9").status_code == 200  # somebody else
    await until(lambda: running.streams.response("127.0.0.1").status_code == 200)  # who went made room
    await running.stop()


async def test_while_nobody_listens_a_reading_costs_nothing(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(running.streams, "send", lambda *event: told.append(event))
    assert running.live.subscribers == 0
    async with running.listen() as answer:
        await next_block(answer.aiter_lines())
        assert running.live.subscribers == 1
        running.live.publish(ReadingEvent("amsel", NOW, {"temperature": 1.0}))
        await until(lambda: len(told) == 1)
    await until(lambda: len(running.streams) == 0)
    running.live.publish(ReadingEvent("amsel", NOW, {"temperature": 2.0}))
    await until(lambda: running.live.subscribers == 0)
    assert len(told) == 1


async def test_a_backlog_leaves_the_nest_time_for_its_work(running: Running) -> None:
    """Between two pauses a bounded number is told, however many wait."""
    async with running.listen() as answer:
        await next_block(answer.aiter_lines())
        before = 0
        told: list[int] = []
        send = running.streams.send
        running.streams.send = lambda event, data: (told.append(1), send(event, data))[1]  # type: ignore[method-assign]
        for _ in range(500):
            running.live.publish(ReadingEvent("amsel", NOW, {"temperature": 1.0}))
        for _ in range(3):
            await asyncio.sleep(0)
            assert len(told) - before <= 40
            before = len(told)
