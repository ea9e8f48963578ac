"""The nest's own MQTT broker (amqtt), for a town that has none."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
from typing import Any

from nest.errors import UserError
from nest.i18n import tr

_SHUTDOWN_S = 1.0
_log = logging.getLogger(__name__)


class EmbeddedBroker:
    """A broker in this process and event loop. Anonymous, so it listens on this computer only unless told otherwise.

    It takes a few thousand messages a second; when the nest has more for it, they wait in the outbox.
    """

    def __init__(self) -> None:
        self._broker: Any = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen on `host`:`port` (0: any free one; then see `self.port`).

        Raises OSError: the port is occupied, or there is no such address.
        """
        from amqtt.broker import Broker  # here: it costs 0.2 s, and a town with a broker of its own never needs it
        from amqtt.errors import BrokerError

        for name in ("amqtt", "transitions"):  # they report every connection, at every level
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": bind}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        try:
            await broker.start()
        except BrokerError as error:
            raise _os_error(error) from error
        self._broker = broker
        self.port = _listening_port(broker)
        if (warning := open_to_others(host)) is not None:
            _log.warning("%s %s", warning.message, warning.next_step)

    async def stop(self) -> None:
        """Close every connection and the port."""
        if self._broker is None:
            return
        try:
            async with asyncio.timeout(_SHUTDOWN_S):
                await self._broker.shutdown()
        except TimeoutError:
            _log.warning("the broker did not close in %s s", _SHUTDOWN_S)
        self._broker = None


def open_to_others(host: str) -> UserError | None:
    """What to tell an operator whose broker without passwords listens where others reach it; else None."""
    try:
        own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = host == "localhost"
    if own:
        return None
    return UserError(
        tr(
            "The nest's own MQTT broker listens on {host}: whoever reaches it may read and write.",
            host=host,
        ),
        tr('Use a broker with passwords, such as mosquitto: url under [mqtt] in town.toml; or set host = "127.0.0.1".'),
    )


def _listening_port(broker: Any) -> int:
    return broker._servers["default"].instance.sockets[0].getsockname()[1]


def _os_error(error: BaseException | None) -> OSError:
    while error is not None:
        if isinstance(error, OSError):
            return error
        error = error.__cause__ or error.__context__
    return OSError(errno.EADDRNOTAVAIL, "the broker does not start")
