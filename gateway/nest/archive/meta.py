"""Single facts about a town's database, by name."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, delete, insert, select

from nest.archive.database import writing
from nest.archive.schema import meta

GENERATION = "generation"  # another word means: another database stands here, though the file is the same
ADMIN_TOKEN = "admin_token"  # noqa: S105  the key under which its SHA-256 stands

PATIENCE_MS = 100  # the running nest writes here from its event loop, and gateways wait with it


def get(engine: Engine, key: str) -> str | None:
    """What is noted under `key`."""
    with engine.begin() as connection:
        return connection.execute(select(meta.c.value).where(meta.c.key == key)).scalar_one_or_none()


def put(engine: Engine, key: str, value: str, *, patience_ms: int | None = PATIENCE_MS) -> None:
    """Note `value` under `key`, in the place of what stood there.

    `patience_ms`: how long to wait for another program's lock; None: the usual 5 s, for a command that nobody else
    waits with.
    """
    with writing(engine, patience_ms=patience_ms) as connection:
        write(connection, key, value)


def write(connection: Connection, key: str, value: str) -> None:
    """As `put`, inside a transaction."""
    connection.execute(delete(meta).where(meta.c.key == key))
    connection.execute(insert(meta).values(key=key, value=value))
