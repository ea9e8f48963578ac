"""Orders to nodes in the database: each is a row of `orders`, what goes out are rows of `downlinks`.

The life of an order:

    waiting    it goes out with the node's next uplink; without a downlink: with the next free place of the day
    sent       a gateway had it; the node's next uplink answers, or the one after the next try
    done, refused   what the node answered
    replaced   a later order of the same kind took its place before it went out
    expired    the node did not answer, or its downlink was lost on our side

All that waits for a node goes in one downlink under one ticket, in the order of its rows: a further order takes the
waiting downlink back and makes a new one, so a node has at most one. What is not answered is sent again, later and
later. Never more than `backfill.MOST_A_DAY` downlinks go to a node in any 24 h: what is more waits.

The functions that take a connection are part of their caller's transaction, which is a writing one where they write.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, Row, insert, select, update

from nest import backfill
from nest import orders as commands_of
from nest.archive import schema
from nest.archive.database import writing
from nest.archive.downlinks import QUEUED, WITHDRAWN
from nest.archive.downlinks import REPLACED as DOWNLINK_REPLACED
from nest.archive.downlinks import WAITING as DOWNLINK_WAITING
from nest.moments import now_ms
from nest.orders import FPORT, NUMBERS, TICKETS, Command, from_json, to_json

WAITING, SENT, DONE, REFUSED, REPLACED, EXPIRED = "waiting", "sent", "done", "refused", "replaced", "expired"

# of `downlinks.state`
_WENT_OUT = ("sent", "acknowledged", "unacknowledged")
_IN_HAND = (DOWNLINK_WAITING, QUEUED, WITHDRAWN)

HEARD = 2  # so many uplinks after it was sent, and no answer: it or the answer was lost
TRIES = 8
AGAIN_MS = 15 * 60_000  # after the first try, then twice as long …
STALE_MS = 7 * 86_400_000  # an order of the nest's own that waited so long is about a past that nobody remembers
_DAY_MS = 86_400_000

# the journal's words
_NEWEST_OF_TICKET = "SELECT max(downlink_id) FROM orders WHERE node_id = ? AND ticket = ?"
_OF_DOWNLINK = (
    "SELECT orders.id FROM orders JOIN downlinks ON downlinks.id = orders.downlink_id "
    "WHERE orders.node_id = ? AND orders.ticket = ? AND orders.downlink_id = ? "
    "AND orders.state IN ('waiting', 'sent', 'expired') AND downlinks.state <> 'waiting' "
    "ORDER BY orders.id"
)
_SET_STATE = "UPDATE orders SET state = ?, state_at = ? WHERE id = ?"


class _Executes(Protocol):
    """The journal's connection: SQLite's, or one that understands its words."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """One order, as people are shown it. Times are Unix s. `downlink`: whether there is one for it."""

    id: int
    node: str
    command: Command
    automatic: bool
    tries: int
    created_at: float
    state: str
    state_at: float
    downlink: bool


class Orders:
    """The orders in a town's database. Every call is one short transaction; safe beside a running nest."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def place(self, node_id: int, commands: Sequence[Command], *, automatic: bool = False) -> list[int]:
        """Order all of this of a node, in one downlink; their numbers. Raises ValueError: see `orders.encode`."""
        with writing(self._engine) as connection:
            return place(connection, node_id, commands, automatic=automatic, now=now_ms())

    def list(self, slug: str | None = None, limit: int = 100) -> list[Order]:
        """The latest orders, of one node or of all, newest first."""
        table, nodes = schema.orders, schema.nodes
        wanted = _with_downlink(nodes.c.slug).join(nodes, nodes.c.id == table.c.node_id)
        if slug is not None:
            wanted = wanted.where(nodes.c.slug == slug)
        with self._engine.begin() as connection:
            rows = connection.execute(wanted.order_by(table.c.id.desc()).limit(limit)).all()
        return [_order(row) for row in rows if row.kind in NUMBERS]


def place(connection: Connection, node_id: int, commands: Sequence[Command], *, automatic: bool, now: int) -> list[int]:
    """Order this of a node: rows here and, if the day has room, a downlink with everything that waits for the node.

    Raises ValueError: see `orders.encode`.
    """
    table = schema.orders
    commands_of.encode(1, commands)
    settle(connection, node_id, now)
    kinds = [command.kind for command in commands]
    connection.execute(
        update(table)
        .where(table.c.node_id == node_id, table.c.state == WAITING, table.c.kind.in_(kinds))
        .values(state=REPLACED, state_at=now)
    )
    # an older one that was sent and not answered must not be sent again behind this one
    connection.execute(
        update(table)
        .where(table.c.node_id == node_id, table.c.state == SENT, table.c.kind.in_(kinds))
        .values(state=EXPIRED, state_at=now)
    )
    numbers = [
        connection.execute(
            insert(table)
            .values(
                node_id=node_id,
                kind=command.kind,
                value={**to_json(command), "automatic": automatic, "tries": 1, "downlinks": []},
                ticket=0,
                downlink_id=None,
                created_at=now,
                state=WAITING,
                state_at=now,
            )
            .returning(table.c.id)
        ).scalar_one()
        for command in commands
    ]
    _compose(connection, node_id, now)
    return numbers


def answered(connection: _Executes, node_id: int, ticket: int, result: int, now: int) -> int:
    """A node's ANSWER to the orders of a ticket: `result` 0, all were done; n, the n-th was refused, and those behind
    it. For the journal, inside its transaction. Returns how many orders that was about; 0: nobody asked."""
    newest = connection.execute(_NEWEST_OF_TICKET, (node_id, ticket)).fetchone()
    if newest is None or newest[0] is None:
        return 0
    rows = connection.execute(_OF_DOWNLINK, (node_id, ticket, newest[0])).fetchall()
    for command, (number,) in enumerate(rows, 1):
        state = DONE if result == 0 or command < result else REFUSED
        connection.execute(_SET_STATE, (state, now, number))
    return len(rows)


def unsettled(connection: Connection) -> list[int]:
    """The nodes that have orders which wait or are not answered."""
    table, nodes = schema.orders, schema.nodes
    some = select(table.c.id).where(table.c.node_id == nodes.c.id, table.c.state.in_((WAITING, SENT))).exists()
    return [*connection.scalars(select(nodes.c.id).where(some))]


def is_due(connection: Connection, node_id: int, now: int) -> bool:
    """Whether `settle` has anything to do."""
    rows = _open(connection, node_id)
    return any(_next(connection, row, now) for row in rows) or _is_room_for(connection, node_id, rows, now)


def settle(connection: Connection, node_id: int, now: int) -> None:
    """See how far a node's orders have come: which were sent, which are to be sent again, which will never be."""
    table = schema.orders
    for row in _open(connection, node_id):
        step = _next(connection, row, now)
        if step is None:
            continue
        connection.execute(update(table).where(table.c.id == row.id).values(**step))
        if step.get("state") == EXPIRED and row.downlink_state in _IN_HAND:
            _compose(connection, node_id, now)
    if _is_room_for(connection, node_id, _open(connection, node_id), now):
        _compose(connection, node_id, now)


def spent(connection: Connection, node_id: int, now: int) -> tuple[list[int], list[int]]:
    """When downlinks went to a node in the last 7 days, and those of the nest's own among them; Unix ms. What is still
    to go counts as now."""
    table, since = schema.orders, now - 7 * _DAY_MS
    moments = _downlinks(connection, node_id, now, since)
    own: set[int] = set()
    rows = select(table.c.downlink_id, table.c.value).where(
        table.c.node_id == node_id, table.c.created_at >= since - STALE_MS
    )
    for row in connection.execute(rows):
        if row.value.get("automatic"):
            own |= {row.downlink_id, *row.value.get("downlinks", ())}
    return [*moments.values()], [moment for number, moment in moments.items() if number in own]


def latest(connection: Connection, node_id: int, kind: str) -> Order | None:
    """The latest order of that kind to a node."""
    table, nodes = schema.orders, schema.nodes
    row = connection.execute(
        _with_downlink(nodes.c.slug)
        .join(nodes, nodes.c.id == table.c.node_id)
        .where(table.c.node_id == node_id, table.c.kind == kind)
        .order_by(table.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else _order(row)


# -- how


def _with_downlink(*columns: Any) -> Any:
    table, downlinks = schema.orders, schema.downlinks
    return select(
        table, downlinks.c.state.label("downlink_state"), downlinks.c.state_at.label("downlink_at"), *columns
    ).outerjoin(downlinks, downlinks.c.id == table.c.downlink_id)


def _open(connection: Connection, node_id: int) -> Sequence[Row]:
    table = schema.orders
    wanted = _with_downlink().where(table.c.node_id == node_id, table.c.state.in_((WAITING, SENT)))
    return connection.execute(wanted.order_by(table.c.id)).all()


def _next(connection: Connection, row: Row, now: int) -> dict[str, Any] | None:
    """What changes of an open order; None: nothing."""
    gone: dict[str, Any] = {"state": EXPIRED, "state_at": now}
    if row.state == WAITING:
        if row.downlink_state in _WENT_OUT:
            return {"state": SENT, "state_at": row.downlink_at}
        if row.value.get("automatic") and row.created_at < now - STALE_MS:
            return gone
        if row.downlink_id is not None and row.downlink_state not in _IN_HAND:
            return gone  # too long for any window, or its node was removed
        return None
    tries = row.value.get("tries", 1)
    if not _heard_since(connection, row.node_id, row.state_at):
        return None
    if row.kind == "log" or tries >= TRIES:
        return gone  # for a log the planner looks at what has come
    if now < row.state_at + AGAIN_MS * 2 ** (tries - 1):
        return None
    earlier = [*row.value.get("downlinks", ()), row.downlink_id]
    value = {**row.value, "tries": tries + 1, "downlinks": earlier}
    return {"state": WAITING, "state_at": now, "value": value, "downlink_id": None, "ticket": 0}


def _heard_since(connection: Connection, node_id: int, moment: int) -> bool:
    frames = schema.frames
    wanted = select(frames.c.id).where(frames.c.node_id == node_id, frames.c.time > moment).limit(HEARD)
    return len(connection.execute(wanted).all()) >= HEARD


def _is_room_for(connection: Connection, node_id: int, rows: Sequence[Row], now: int) -> bool:
    homeless = [row for row in rows if row.state == WAITING and row.downlink_id is None]
    return bool(homeless) and _is_room(connection, node_id, now)


def _is_room(connection: Connection, node_id: int, now: int) -> bool:
    return len(_downlinks(connection, node_id, now, now - _DAY_MS)) < backfill.MOST_A_DAY


def _downlinks(connection: Connection, node_id: int, now: int, since: int) -> dict[int, int]:
    """Numbers of a node's downlinks that went out after `since`, and when; those that are to go: now."""
    downlinks = schema.downlinks
    in_hand, went_out = downlinks.c.state.in_(_IN_HAND), downlinks.c.state.in_(_WENT_OUT)
    rows = connection.execute(
        select(downlinks.c.id, downlinks.c.state, downlinks.c.state_at).where(
            downlinks.c.node_id == node_id, in_hand | (went_out & (downlinks.c.state_at > since))
        )
    )
    return {row.id: now if row.state in _IN_HAND else row.state_at for row in rows}


def _compose(connection: Connection, node_id: int, now: int) -> None:
    """One downlink with everything that waits for the node, in the place of those that wait; none, if there is no room
    for it today."""
    table, downlinks = schema.orders, schema.downlinks
    _take_back(connection, node_id, now)
    rows = [row for row in _open(connection, node_id) if row.state == WAITING]
    numbers = [row.id for row in rows]
    values: dict[str, Any] = {"ticket": 0, "downlink_id": None}
    if rows and _is_room(connection, node_id, now):
        ticket = _next_ticket(connection, node_id)
        payload = commands_of.encode(ticket, [from_json(row.kind, row.value) for row in rows])
        number = connection.execute(
            insert(downlinks)
            .values(
                node_id=node_id,
                port=FPORT,
                payload=payload,
                confirmed=False,
                window=None,
                queued_at=now,
                state=DOWNLINK_WAITING,
                state_at=now,
            )
            .returning(downlinks.c.id)
        ).scalar_one()
        values = {"ticket": ticket, "downlink_id": number}
    connection.execute(update(table).where(table.c.id.in_(numbers)).values(**values))


def _take_back(connection: Connection, node_id: int, now: int) -> None:
    """The downlinks of orders that still wait. One that the running network server has taken may go out all the same:
    until it says that it has let go of it, it counts."""
    downlinks = schema.downlinks
    ours = (downlinks.c.node_id == node_id, downlinks.c.port == FPORT)
    ordered = select(schema.orders.c.downlink_id).where(
        schema.orders.c.node_id == node_id, schema.orders.c.downlink_id.is_not(None)
    )
    for before, after in ((DOWNLINK_WAITING, DOWNLINK_REPLACED), (QUEUED, WITHDRAWN)):
        connection.execute(
            update(downlinks)
            .where(*ours, downlinks.c.state == before, downlinks.c.id.in_(ordered))
            .values(state=after, state_at=now)
        )


def _next_ticket(connection: Connection, node_id: int) -> int:
    downlinks = schema.downlinks
    newest = (
        select(downlinks.c.payload)
        .where(downlinks.c.node_id == node_id, downlinks.c.port == FPORT)
        .order_by(downlinks.c.id.desc())
        .limit(1)
    )
    payload = connection.execute(newest).scalar_one_or_none()
    return (payload[0] if payload else 0) % TICKETS + 1


def _order(row: Row) -> Order:
    state, at = row.state, row.state_at
    if state == WAITING and row.downlink_state in _WENT_OUT:
        state, at = SENT, row.downlink_at
    value = row.value
    return Order(
        row.id,
        row.slug,
        from_json(row.kind, value),
        bool(value.get("automatic")),
        int(value.get("tries", 1)),
        row.created_at / 1000,
        state,
        at / 1000,
        row.downlink_id is not None,
    )
