"""New readings, told to everybody in this process who wants to know: the page's event stream, MQTT."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping

from nest.model import Heard


@dataclasses.dataclass(slots=True)
class ReadingEvent:
    """One reading that has just been stored. A value, though not frozen: thousands a second are made."""

    node_slug: str
    time: float  # of measuring, Unix s
    values: Mapping[str, float | None]  # quantity -> value in its unit; None: the sensor failed or it was out of range
    qualities: Mapping[str, str] = dataclasses.field(default_factory=dict)  # -> "good", "failed", "out_of_range"
    heard: tuple[Heard, ...] = ()  # by which gateways, strongest first
    fcnt: int | None = None
    origin: str = "heard"  # in a frame of its own; "recovered", "backfilled" or "other", see nest.archive.schema
    heard_at: float | None = None  # Unix s, the frame that brought it; None: no frame did


class Live:
    """In-process publish and subscribe. A subscriber that does not keep up loses its oldest events, nobody else's."""

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._queues: set[asyncio.Queue[ReadingEvent]] = set()

    def publish(self, event: ReadingEvent) -> None:
        """Hand `event` to every subscriber; never waits. Call it from the event loop's thread."""
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    @contextlib.contextmanager
    def subscribe(self) -> Iterator[asyncio.Queue[ReadingEvent]]:
        """`with live.subscribe() as queue: event = await queue.get()`: events from now on."""
        queue: asyncio.Queue[ReadingEvent] = asyncio.Queue(self._limit)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    @property
    def subscribers(self) -> int:
        return len(self._queues)
