"""From one version of the schema to the next, inside the transaction that opens the database."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sqlalchemy import Column, Connection, Table, insert, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateColumn

from nest.archive import schema

SINK = "mqtt"
_GENERATION = "generation"


def first_rows(connection: Connection) -> None:
    """What stands in tables that have just been made."""
    connection.execute(insert(schema.meta).values(key=_GENERATION, value=new_generation()))
    connection.execute(insert(schema.sinks).values(name=SINK, done=0))


def new_generation() -> str:
    """A word that no database had before."""
    return secrets.token_hex(8)


def _to_2(connection: Connection) -> None:
    """Gateways, outbox and marks; what ADR and DevStatus need. Nothing that stands there is touched."""
    for table, names in (
        (schema.sessions, ("heard_at", "heard_by", "heard_tmst", "tx_power", "nb_trans", "adr_tries", "status_at")),
        (schema.nodes, ("battery", "margin_db", "status_at", "join_nonce_floor")),
    ):
        for name in names:
            _add_column(connection, table, table.c[name])
    for table in (schema.gateways, schema.outbox, schema.sinks, schema.meta):
        table.create(connection)
    for index in schema.downlinks.indexes:
        index.create(connection, checkfirst=True)
    # when the last frame of each session was heard: what a gateway has held back since may not be taken for older
    connection.execute(
        text(
            "UPDATE sessions SET heard_at = coalesce((SELECT max(time) / 1000.0 FROM frames"
            " WHERE frames.session_id = sessions.id AND frames.fcnt = sessions.fcnt_up), 0)"
            " WHERE ended_at IS NULL"
        )
    )
    first_rows(connection)


def _add_column(connection: Connection, table: Table, column: Column[object]) -> None:
    definition = CreateColumn(column).compile(dialect=sqlite.dialect())
    connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {definition}"))


# version that is left behind -> what turns its tables into those of the next version
MIGRATIONS: dict[int, Callable[[Connection], None]] = {1: _to_2}
