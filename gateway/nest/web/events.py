"""Server-sent events (WHATWG HTML section 9.2): every reading, as it arrives, to everybody who looks at the page.

Rules:

1. A slow client never holds up another one, nor the nest: each has its own bounded queue, and one that does not take
   its bytes for `SEND_TIMEOUT_S` is let go. The page's EventSource comes back by itself and asks for the latest values.
2. Their number is limited, of all and of one address (a school has one for all its children); one too many gets 503 and
   a time to come back.
3. A comment every `HEARTBEAT_S` keeps proxies and phones from giving up, and finds clients that are gone.
4. `close()` ends every stream. uvicorn waits for open answers before it calls the application's shutdown, so whoever
   stops the server calls `close()` first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

HEARTBEAT_S = 15.0
SEND_TIMEOUT_S = 30.0
MAX_CLIENTS = 200
MAX_OF_ADDRESS = 50
QUEUE_SIZE = 64  # events one client may be behind
RETRY_MS = 3000


class EventStreams:
    """The open streams. All methods belong to the event loop's thread."""

    def __init__(
        self,
        *,
        max_clients: int = MAX_CLIENTS,
        max_of_address: int = MAX_OF_ADDRESS,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.max_clients = max_clients
        self.max_of_address = max_of_address
        self.heartbeat_s = heartbeat_s
        self.closed = False
        self.wanted = asyncio.Event()  # set while anybody listens
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._addresses: Counter[str] = Counter()  # streams that have not ended yet

    def __len__(self) -> int:
        return len(self._queues)

    def send(self, event: str, data: str) -> None:
        """Give one event (`data` without line ends: JSON) to everybody; returns at once."""
        message = f"event: {event}\ndata: {data}\n\n".encode()
        for queue in list(self._queues):
            self._offer(queue, message)

    def close(self) -> None:
        """End all streams, after what they still have to send, and accept no new ones."""
        self.closed = True
        for queue in list(self._queues):
            self._offer(queue, None)

    def response(self, address: str = "") -> Response:
        """The answer to one client at `address`: its stream, or 503."""
        full = len(self._queues) >= self.max_clients or self._addresses[address] >= self.max_of_address
        if self.closed or full:
            problem = {"detail": "too many open event streams; ask again later"}
            return JSONResponse(problem, status_code=503, headers={"Retry-After": "30"})
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_SIZE)
        self._queues.add(queue)
        self._addresses[address] += 1
        self.wanted.set()

        def gone() -> None:
            self._drop(queue)
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

        return _EventStream(queue, self.heartbeat_s, gone)

    def _drop(self, queue: asyncio.Queue[bytes | None]) -> None:
        self._queues.discard(queue)
        if not self._queues:
            self.wanted.clear()

    def _offer(self, queue: asyncio.Queue[bytes | None], message: bytes | None) -> None:
        try:
            queue.put_nowait(message)
        except asyncio.QueueFull:  # too far behind: everything it has not taken is old by now, let it come back
            self._drop(queue)
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(None)


class _EventStream(Response):
    """One client's stream; ends when the client goes, is too slow, or the queue gives None."""

    media_type = "text/event-stream"

    def __init__(self, queue: asyncio.Queue[bytes | None], heartbeat_s: float, gone: Callable[[], None]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._queue, self._heartbeat_s, self._gone = queue, heartbeat_s, gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(send))
                watcher = tasks.create_task(self._watch(receive, writer))
                writer.add_done_callback(lambda _: watcher.cancel())
        finally:
            self._gone()

    async def _watch(self, receive: Receive, writer: asyncio.Task[None]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        writer.cancel()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        chunk: bytes | None = f"retry: {RETRY_MS}\n\n".encode()
        while chunk is not None:
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except (TimeoutError, OSError):
                return
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    chunk = await self._queue.get()
            except TimeoutError:
                chunk = b": still here\n\n"
        await send({"type": "http.response.body", "body": b"", "more_body": False})
