"""How one gets into a server's API: its address, the key, and errors that never repeat a key."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from nest.errors import UserError
from nest.i18n import tr
from nest.logs import printable

LONGEST_SAID = 200  # characters of what a server says about an error


@dataclass(frozen=True, slots=True)
class Access:
    """Where the server is and what opens it. `ca`: PEM, in ASCII, of a certificate that the computer does not know."""

    host: str
    port: int
    tls: bool
    key: str = field(repr=False)
    ca: bytes | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def is_here(self) -> bool:
        """It is on this computer: nobody listens on the way."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def access(url: str, key: str, ca_file: Path | None = None, *, port: int | None = None) -> Access:
    """`url`: http://host[:port] or https://host[:port]; `port`: the usual one of that server over http,
    where none is said.

    Raises UserError: it is none, or the file with the certificate cannot be read, or holds none.
    """
    try:
        parts = urlsplit(url)
        said, host = parts.port, parts.hostname
    except ValueError:
        parts, said, host = None, None, None
    if parts is None or parts.scheme not in ("http", "https") or not host or parts.path not in ("", "/") or parts.query:
        raise UserError(
            tr("{url} is no address of a server.", url=url),
            tr("Write it as https://host or http://host:8080, with nothing behind it."),
        )
    if parts.username is not None or parts.password is not None:
        raise UserError(
            tr("An address with a password in it is not taken."), tr("Put the key into a file: --key-file FILE")
        )
    tls = parts.scheme == "https"
    ca = None if ca_file is None else _certificate(ca_file)
    return Access(host, said or (443 if tls else port or 80), tls, key, ca)


def read_key(file: Path | None, variable: str) -> str:
    """The key of an API: from a file, or from the environment variable. Raises UserError: neither, or no key in it."""
    if file is None:
        text = os.environ.get(variable, "")
        if not text.strip():
            raise UserError(
                tr("The server wants a key for its API."),
                tr("Put it into a file: --key-file FILE. Or set {variable}.", variable=variable),
            )
        where = variable
    else:
        text, where = _read(file).decode("utf-8", "replace"), str(file)
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(
            tr("{where} holds no key.", where=where), tr("Copy the API key there once more, alone on its line.")
        )
    return key


def clean(said: object, secrets: Iterable[str]) -> str:
    """What a server said, on one line, short, and without any of the `secrets`, in whatever case it wrote them.
    Nothing in it moves a terminal."""
    text = printable(" ".join(str(said).split()))
    for secret in filter(None, secrets):
        text = re.sub(re.escape(secret), "…", text, flags=re.IGNORECASE)
    return text if len(text) <= LONGEST_SAID else f"{text[:LONGEST_SAID]}…"


def not_encrypted(at: Access) -> str | None:
    """A warning: whoever listens on the way reads keys. None: nobody can."""
    if at.tls or at.is_here:
        return None
    return tr("{url} is not encrypted: everybody in that network can read the keys. Better: https://", url=at.url)


def _certificate(path: Path) -> bytes:
    pem = _read(path).decode("ascii", "ignore")  # names may stand between certificates, in any letters
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise UserError(
            tr("{path} holds no certificate.", path=path),
            tr("It must be PEM: -----BEGIN CERTIFICATE-----. Ask whoever looks after the server for it."),
        ) from None
    return pem.encode("ascii")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            tr("{path} cannot be read: {reason}.", path=path, reason=error.strerror or error),
            tr("Check that the file belongs to you."),
        ) from error
