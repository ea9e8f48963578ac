"""Where a town's PostgreSQL database is: by URL, never with a password in it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

_OF_A_CONNECTION = frozenset(
    {"host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout", "target_session_attrs"}
)


@dataclasses.dataclass(frozen=True, slots=True)
class DatabaseServer:
    """Where a town's PostgreSQL database is."""

    url: str  # without a password, so it may be shown
    password_file: Path | None = None

    def __str__(self) -> str:
        return self.url


def database_url_is_good(url: str) -> bool:
    """postgresql://[user@][host[:port]]/name[?sslmode=…]: everything but a password, which has better places."""
    try:
        parts = urlsplit(url)
        asked = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else []
        return (
            parts.scheme in ("postgresql", "postgres")
            and parts.password is None
            and parts.port != 0
            and re.fullmatch(r"/[^/\s]+", parts.path) is not None
            and not parts.fragment
            and {key for key, _ in asked} <= _OF_A_CONNECTION
        )
    except ValueError:
        return False
