"""From one version of the schema to the next, inside the transaction that opens the database."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Row, Table, insert, literal, select, text, update
from sqlalchemy.schema import CreateColumn

from nest import keys, payload
from nest.archive import adding, codes, decoding, schema
from nest.quantities import by_bit

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


def _to_3(connection: Connection) -> None:
    """A row for a reading in place of one for each value, at the time of measuring in place of that of hearing."""
    old = "readings_2"
    connection.execute(text(f"ALTER TABLE readings RENAME TO {old}"))
    for table in (
        schema.readings, schema.last_measured, schema.gaps, schema.days, schema.aggregates, schema.flags, schema.orders,
    ):  # fmt: skip
        table.create(connection)
    values = text(
        f"SELECT r.time, r.quantity_id, r.value, r.quality, f.sf, f.bw_hz, length(f.phy) AS size FROM {old} AS r"  # noqa: S608
        " LEFT JOIN frames AS f ON f.node_id = r.node_id AND f.time = r.time AND f.decoded = 1"
        " WHERE r.node_id = :node_id ORDER BY r.time"
    )
    outbox = schema.outbox
    waiting: dict[tuple[int, int], list[int]] = {}
    for seq, node_id, time in connection.execute(select(outbox.c.seq, outbox.c.node_id, outbox.c.time)):
        waiting.setdefault((node_id, time), []).append(seq)
    for node_id in connection.scalars(text("SELECT id FROM nodes")).all():
        rows, taken = [], set[int]()
        found = connection.execute(values, {"node_id": node_id})
        for time, of_reading in itertools.groupby(found, key=lambda row: row.time):
            row = _reading(node_id, time, [*of_reading])
            while row["time"] in taken:
                row["time"] += 1
                row["delay_ms"] = None if row["delay_ms"] is None else time - row["time"]
            taken.add(row["time"])
            rows.append(row)
            for seq in waiting.get((node_id, time), ()):
                connection.execute(update(outbox).where(outbox.c.seq == seq).values(time=row["time"]))
        if rows:
            connection.execute(insert(schema.readings), rows)
    connection.execute(text(f"DROP TABLE {old}"))
    adding.renew_last_measured(connection)
    day = schema.readings.c.time // schema.DAY_MS
    every = select(schema.readings.c.node_id, day, literal(True)).distinct()
    connection.execute(insert(schema.days).from_select(["node_id", "day", "dirty"], every))


def _to_4(connection: Connection) -> None:
    """What provisioning needs: wishes, a mark of each key that is known, a floor for DevNonces, retirement."""
    nodes = schema.nodes
    for name in ("wishes", "key_mark", "nonce_floor", "retired_at"):
        _add_column(connection, nodes, nodes.c[name])
    with_key = select(nodes.c.id, nodes.c.dev_eui, nodes.c.app_key).where(nodes.c.app_key.is_not(None))
    for node_id, dev_eui, app_key in connection.execute(with_key).all():
        mark = keys.mark(bytes.fromhex(dev_eui), app_key)
        connection.execute(update(nodes).where(nodes.c.id == node_id).values(key_mark=mark))


def _reading(node_id: int, time: int, rows: Sequence[Row]) -> dict[str, Any]:
    """A row of version 3 from those of version 2 that stand at one moment."""
    failed, out_of_range = 1, 2  # qualities of version 2; 0: good
    found: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: row.quantity_id):
        quantity = by_bit()[row.quantity_id]
        if row.quality == failed:
            found[quantity.name] = payload.FAILED
        elif row.quality == out_of_range or row.value is None:
            found[quantity.name] = payload.OUT_OF_RANGE
        else:
            found[quantity.name] = payload.code_of(quantity, row.value)
    new: dict[str, Any] = {"node_id": node_id, "codes": codes.pack(found)}
    if rows[0].size is None:
        return {**new, "time": time, "origin": schema.OTHER, "delay_ms": None}
    delay_ms = decoding.airtime_ms(rows[0].sf, rows[0].bw_hz, rows[0].size)
    return {**new, "time": time - delay_ms, "origin": schema.HEARD, "delay_ms": delay_ms}


def _add_column(connection: Connection, table: Table, column: Column[object]) -> None:
    definition = CreateColumn(column).compile(dialect=connection.dialect)
    connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {definition}"))


# version that is left behind -> what turns its tables into those of the next version
MIGRATIONS: dict[int, Callable[[Connection], None]] = {1: _to_2, 2: _to_3, 3: _to_4}
