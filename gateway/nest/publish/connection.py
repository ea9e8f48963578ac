"""One connection to the broker, from its opening to its loss."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import cast

from nest.i18n import tr
from nest.publish import mqtt_wire
from nest.publish.login import TIMEOUT_S, Broker, RefusedError, addresses, tls_context

KEEPALIVE_S = 30
"""So long without a word from the broker, and it is taken for gone; it takes the nest for gone after 45 s."""

_PING_S = KEEPALIVE_S / 2
_BUFFER_HIGH = 1 << 18  # bytes that the system has not taken; then nothing more is written


class Connection(asyncio.Protocol):
    """`acknowledged(packet_ids)` is called for PUBACKs, `writable()` when there is room again after `paused`.

    `connack` is done when the broker has let us in, `lost` (with an exception) when the connection has ended.
    """

    def __init__(self, acknowledged: Callable[[Sequence[int]], None], writable: Callable[[], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.connack: asyncio.Future[None] = self.loop.create_future()
        self.lost: asyncio.Future[None] = self.loop.create_future()
        for future in (self.connack, self.lost):
            future.add_done_callback(lambda done: done.cancelled() or done.exception())  # taken note of
        self.paused = False
        self._acknowledged, self._writable = acknowledged, writable
        self._reader = mqtt_wire.Reader()
        self._heard = True
        self._timer: asyncio.TimerHandle | None = None

    def write(self, packets: Iterable[bytes]) -> None:
        """All of them at once; on a connection that is lost, nothing."""
        if not self._transport.is_closing():
            self._transport.write(b"".join(packets))

    def keep_alive(self) -> None:
        """Ask now and then whether the broker lives."""
        if not self._heard:
            self.fail(TimeoutError(tr("no answer within {seconds} s", seconds=KEEPALIVE_S)))
            return
        self._heard = False
        if not self.paused:
            self.write([mqtt_wire.PINGREQ])
        self._timer = self.loop.call_later(_PING_S, self.keep_alive)

    async def close(self) -> None:
        """DISCONNECT: the broker does not tell our will."""
        self.write([mqtt_wire.DISCONNECT])
        self._transport.close()
        with contextlib.suppress(Exception):
            await asyncio.shield(self.lost)

    def fail(self, error: BaseException) -> None:
        """Give the connection up because of `error`."""
        self._ended(error)
        self._transport.abort()

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # asyncio has set TCP_NODELAY
        self._transport.set_write_buffer_limits(_BUFFER_HIGH)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            for answer in self._reader.feed(data):
                if isinstance(answer, mqtt_wire.Pubacks):
                    self._acknowledged(answer.packet_ids)
                elif isinstance(answer, mqtt_wire.Connack):
                    self._let_in(answer.code)
        except Exception as error:
            self.fail(error)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc or ConnectionError(tr("it closed the connection")))

    def _let_in(self, code: int) -> None:
        if self.connack.done():
            return
        if code:
            self.connack.set_exception(RefusedError(code))
        else:
            self.connack.set_result(None)

    def _ended(self, error: BaseException) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for future in (self.connack, self.lost):
            if not future.done():
                future.set_exception(error)


async def open_connection(
    broker: Broker,
    will: mqtt_wire.Will,
    acknowledged: Callable[[Sequence[int]], None],
    writable: Callable[[], None],
) -> Connection:
    """Connect and log in. Raises OSError, RefusedError, ProtocolError or UserError: see `login.in_words`."""
    hello = mqtt_wire.connect(
        f"funkspatz-{random.getrandbits(48):012x}",
        keep_alive_s=KEEPALIVE_S,
        username=broker.username,
        password=broker.password,
        will=will,
    )
    context = tls_context(broker)
    async with asyncio.timeout(TIMEOUT_S):
        connection = await _reach(broker, context, lambda: Connection(acknowledged, writable))
        try:
            connection.write([hello])
            await connection.connack
        except BaseException as error:  # cancelled, too
            connection.fail(error)
            raise
    connection.keep_alive()
    return connection


async def _reach(broker: Broker, context: ssl.SSLContext | None, factory: Callable[[], Connection]) -> Connection:
    """The first of the host's addresses that answers."""
    found = await addresses(broker)
    loop = asyncio.get_running_loop()
    for number, address in enumerate(found, start=1):
        last = number == len(found)
        try:
            async with asyncio.timeout(None if last else TIMEOUT_S / (len(found) + 1)):
                _, connection = await loop.create_connection(
                    factory, address, broker.port, ssl=context, server_hostname=broker.host if context else None
                )
            return connection
        except ssl.SSLError:
            raise  # somebody is there
        except OSError:  # TimeoutError is one
            if last:
                raise
    raise ConnectionError(tr("its name has no address"))
