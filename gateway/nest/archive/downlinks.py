"""The queue of downlinks: filled by `nest send` and orders, emptied by the network server at the node's next uplink."""

from __future__ import annotations

import dataclasses

from sqlalchemy import ColumnElement, Engine, func, insert, select, update

from nest.archive.database import writing
from nest.archive.schema import downlinks, nodes
from nest.moments import now_ms

# states in which a downlink still waits for its transmission; others are the ends of DownlinkOutcome
WAITING, QUEUED = "waiting", "queued"
# no longer wanted, but the running network server has it; and let go of
WITHDRAWN, REPLACED = "withdrawn", "replaced"

_PATIENCE_MS = 100


@dataclasses.dataclass(frozen=True, slots=True)
class QueuedDownlink:
    """One downlink as it was ordered."""

    id: int
    dev_eui: bytes
    port: int
    payload: bytes
    confirmed: bool
    window: int | None
    state: str


class DownlinkQueue:
    """The downlinks in a town's database. `waiting`: ordered; `queued`: taken by the running network server."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(
        self, node_id: int, port: int, payload: bytes, *, confirmed: bool = False, window: int | None = None
    ) -> int:
        """Order a downlink; returns its number."""
        now = now_ms()
        values = {"port": port, "payload": payload, "confirmed": confirmed, "window": window}
        with writing(self._engine) as connection:
            return connection.execute(
                insert(downlinks)
                .values(node_id=node_id, queued_at=now, state=WAITING, state_at=now, **values)
                .returning(downlinks.c.id)
            ).scalar_one()

    def get(self, downlink_id: int) -> QueuedDownlink | None:
        """One downlink and what became of it."""
        found = self._select(downlinks.c.id == downlink_id)
        return found[0] if found else None

    def waiting(self) -> list[QueuedDownlink]:
        """What was ordered and not yet taken, oldest first."""
        return self._select(downlinks.c.state == WAITING)

    def withdrawn(self) -> list[QueuedDownlink]:
        """What was taken and is no longer wanted."""
        return self._select(downlinks.c.state == WITHDRAWN)

    def count(self) -> int:
        """How many wait for their transmission. The event loop asks every few seconds: looks at those only."""
        with self._engine.begin() as connection:
            return connection.execute(select(func.count()).where(downlinks.c.state.in_((WAITING, QUEUED)))).scalar_one()

    def take(self) -> list[QueuedDownlink]:
        """What was ordered and not yet taken, oldest first; it counts as taken from now on. One transaction, however
        many there are, and it does not wait long for it: the event loop waits with us."""
        found = self.waiting()
        if found:
            mine = update(downlinks).where(downlinks.c.state == WAITING, downlinks.c.id <= found[-1].id)
            with writing(self._engine, patience_ms=_PATIENCE_MS) as connection:
                taken = {*connection.scalars(mine.values(state=QUEUED, state_at=now_ms()).returning(downlinks.c.id))}
            found = [one for one in found if one.id in taken]  # others were taken back since we looked
        return found

    def set_state(self, downlink_id: int, state: str) -> None:
        """Note what became of a downlink. Called from the event loop: when another program has the database, it does
        not wait for long."""
        with writing(self._engine, patience_ms=_PATIENCE_MS) as connection:
            connection.execute(
                update(downlinks).where(downlinks.c.id == downlink_id).values(state=state, state_at=now_ms())
            )

    def take_back(self) -> None:
        """At the start: what an earlier run had taken and not sent waits again."""
        with writing(self._engine) as connection:
            for before, after in ((QUEUED, WAITING), (WITHDRAWN, REPLACED)):
                connection.execute(update(downlinks).where(downlinks.c.state == before).values(state=after))

    def _select(self, *conditions: ColumnElement[bool]) -> list[QueuedDownlink]:
        wanted = (
            select(downlinks, nodes.c.dev_eui)
            .join(nodes, nodes.c.id == downlinks.c.node_id)
            .where(*conditions)
            .order_by(downlinks.c.id)
        )
        with self._engine.begin() as connection:
            rows = connection.execute(wanted).all()
        return [
            QueuedDownlink(
                row.id, bytes.fromhex(row.dev_eui), row.port, row.payload, row.confirmed, row.window, row.state
            )
            for row in rows
        ]
