"""Single facts about a town's database, by name."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, delete, insert, select

from nest.archive.database import writing
from nest.archive.schema import meta

GENERATION = "generation"  # another word means: another database stands here, though the file is the same
ADMIN_TOKEN = "admin_token"  # noqa: S105  the key under which its SHA-256 stands


def get(engine: Engine, key: str) -> str | None:
    """What is noted under `key`."""
    with engine.begin() as connection:
        return connection.execute(select(meta.c.value).where(meta.c.key == key)).scalar_one_or_none()


def put(engine: Engine, key: str, value: str) -> None:
    """Note `value` under `key`, in the place of what stood there."""
    with writing(engine) as connection:
        write(connection, key, value)


def write(connection: Connection, key: str, value: str) -> None:
    """As `put`, inside a transaction."""
    connection.execute(delete(meta).where(meta.c.key == key))
    connection.execute(insert(meta).values(key=key, value=value))
