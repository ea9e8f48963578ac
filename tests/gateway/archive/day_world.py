"""Readings and gaps written by hand, for what is done about days."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nest.archive import adding, codes, schema
from nest.archive.database import writing
from nest.registry import Registry
from sqlalchemy import Engine, insert, select, update

DAY_MS, HOUR_MS, MINUTE_MS = 86_400_000, 3_600_000, 60_000
DAY = 20_000  # Unix day: 2024-10-04
START = DAY * DAY_MS
SOON = START + DAY_MS + 60 * MINUTE_MS  # when that day is over


def node_id(engine: Engine, slug: str = "amsel") -> int:
    with engine.begin() as connection:
        return connection.execute(select(schema.nodes.c.id).where(schema.nodes.c.slug == slug)).scalar_one()


def new_node(
    engine: Engine, slug: str, number: int, latitude: float | None = None, longitude: float | None = None
) -> None:
    Registry(engine).add(slug, f"70b3d57ed000{number:04x}", latitude=latitude, longitude=longitude)


def measure(
    engine: Engine,
    time_ms: int,
    values: Mapping[str, float],
    *,
    slug: str = "amsel",
    origin: int = schema.HEARD,
    delay_ms: int | None = 57,
    **bad: Any,
) -> None:
    """A reading; `bad`: failed, out_of_range."""
    node = node_id(engine, slug)
    heard = None if delay_ms is None else time_ms + delay_ms
    with writing(engine) as connection:
        adding.add_reading(connection, node, time_ms, codes.from_values(values, **bad), origin, heard_ms=heard)


def series(engine: Engine, values: Mapping[int, float], quantity: str = "temperature", slug: str = "amsel") -> None:
    """A value for each minute of the day."""
    for minute, value in values.items():
        measure(engine, START + minute * MINUTE_MS, {quantity: value}, slug=slug)


def lose(engine: Engine, *gaps: tuple[int, int], slug: str = "amsel", nonce: int = 1, part: int = 0) -> None:
    """Gaps: (FCnt, time in ms), of a session that is made where it is not there."""
    node, sessions = node_id(engine, slug), schema.sessions
    with writing(engine) as connection:
        found = connection.execute(
            select(sessions.c.id).where(sessions.c.node_id == node, sessions.c.join_nonce == nonce)
        ).scalar_one_or_none()
        if found is None:
            zeros: dict[str, Any] = dict.fromkeys(
                ("dev_addr", "fcnt_up", "fcnt_down", "rx1_delay_s", "rx1_dr_offset", "rx2_dr", "rx2_freq_hz"), 0
            )
            found = connection.execute(
                insert(sessions)
                .values(node_id=node, join_nonce=nonce, active=True, joined_at=START / 1000, **zeros)
                .returning(sessions.c.id)
            ).scalar_one()
        for fcnt, time in gaps:
            moments = {"time": time, "opened_at": time, "state_at": time}
            connection.execute(
                insert(schema.gaps).values(session_id=found, fcnt=fcnt, part=part, node_id=node, state=0, **moments)
            )
            adding.mark_day(connection, node, time)


def settle(engine: Engine, fcnt: int, state: int, time: int) -> None:
    """What was missing is no more."""
    gaps = schema.gaps
    with writing(engine) as connection:
        connection.execute(update(gaps).where(gaps.c.fcnt == fcnt).values(state=state, state_at=time))
        adding.mark_day(connection, node_id(engine), time)
