"""Who is let in as a Basics Station: tokens, addresses that fail too often, and TLS."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections import OrderedDict
from pathlib import Path
from typing import Any

from nest.errors import UserError
from nest.i18n import tr

KINDS: dict[str, str] = {
    "station_connected": "connection of a Basics Station with the right token",
    "station_replaced": "connection of a Basics Station ended because it has made a new one",
    "station_refused": "Basics Station not let in: unknown, without token, or with a wrong one",
    "station_throttled": "Basics Station not listened to: too many failures from its address",
    "station_crowded": "connection without a token cut off to make room for another",
}

FAILURES = 20  # refused handshakes of one address in a window, after which it is not listened to
WINDOW_S = 60.0
MOST_ADDRESSES = 1000

_TOKEN_SIZE = 512
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+?)(?::(?P<port>\d{1,5}))?")
_HOST_SIZE = 75  # a station takes an address of at most 128 characters


def peer(remote_address: Any) -> str:
    """The other side's address as text."""
    return str(remote_address[0]) if remote_address else "?"


def token_of(headers: list[str]) -> str:
    """The token in the values of the Authorization headers, whatever word stands before it; "" for none."""
    words = headers[0].split() if headers else []
    return words[-1] if words and len(words[-1]) <= _TOKEN_SIZE else ""


def address_to(path: str, host_header: str, own: tuple[str, int], *, tls: bool) -> str:
    """ws(s)://host:port/path on the way by which the gateway has come, for there may be a router in between.

    A station wants port and path told outright. `host_header` is what it asked for; where that is no host, the address
    `own` at which it arrived. An IPv6 address stands there without its brackets.
    """
    asked = _HOST.fullmatch(host_header) if len(host_header) <= _HOST_SIZE else None
    host, port = (asked["host"], int(asked["port"] or (443 if tls else 80))) if asked else own
    if not 0 < port < 65536:
        host, port = own
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{'wss' if tls else 'ws'}://{host}:{port}{path}"


class Failures:
    """How often each address has failed of late. An IPv6 network of 64 bits is one address: it has one owner."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()  # since when, how often; the oldest first

    def too_many(self, address: str, now: float) -> bool:
        """True: for a while there is nothing more to say to it. `now`: seconds of a steady clock."""
        since, count = self._seen.get(_network(address), (now, 0))
        return count >= FAILURES and now - since < WINDOW_S

    def note(self, address: str, now: float) -> None:
        """It has failed once more."""
        network = _network(address)
        since, count = self._seen.pop(network, (now, 0))
        if now - since >= WINDOW_S:
            since, count = now, 0
        self._seen[network] = (since, count + 1)
        if len(self._seen) > MOST_ADDRESSES:
            self._seen.popitem(last=False)


def _network(address: str) -> str:
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False)) if ":" in address else address
    except ValueError:
        return address


def tls_context(folder: Path, certificate: str, key: str) -> ssl.SSLContext | None:
    """TLS 1.2 or later with the PEM files that `[basics_station]` names in the town's folder; None: it names none.

    Raises UserError: only one of both named, a file missing or unreadable, or the two do not belong together.
    """
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise UserError(
            tr("[basics_station] names only one of certificate and key."),
            tr("Name both in town.toml, or leave both empty."),
        )
    for file in (folder / certificate, folder / key):
        try:
            file.open("rb").close()
        except OSError as error:
            raise UserError(
                tr("{path} cannot be read: {reason}.", path=file, reason=error.strerror),
                tr("Put the file there and let it belong to the user that runs the nest."),
            ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(folder / certificate, folder / key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise UserError(
            tr("{certificate} and {key} cannot be used for TLS.", certificate=folder / certificate, key=folder / key),
            tr("Both must be PEM files, the key without a password and belonging to the certificate."),
        ) from error
    return context


def _no_password() -> str:
    """Instead of asking on the terminal."""
    raise ValueError
