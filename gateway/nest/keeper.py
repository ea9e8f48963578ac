"""The keeper of the archive's completeness: about once a minute it looks for what is missing, and orders it of the
nodes; and it sees how far orders have come. What to order is `nest.backfill`'s to say.

It works with the database alone, so it may run in any thread, beside the journal: it reads first, and takes the
writers' lock only for a node of which something is to be written, for a millisecond or two.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import ColumnElement, Connection, Engine, Row, Update, and_, bindparam, func, or_, select, update

from nest import backfill
from nest.archive import orders, schema
from nest.archive.database import writing
from nest.backfill import DAY_S, HOUR_S, Gap, Plan, Situation
from nest.moments import now_ms
from nest.orders import Command, Log, Parity

_log = logging.getLogger(__name__)

EVERY_S = 60.0  # how often `work` is called
HEARD_LATELY_S = HOUR_S  # only a node that was heard in this time is planned for; a slow one: in two of its intervals
AGAIN_S = 15 * 60.0  # between two plans for a node
MOST_PLANNED = 200  # nodes in one call: a town whose gateway comes back is asked bit by bit
SLOTS = 100  # of which the loss is counted
MOST_SLOTS = 1000  # of which it is counted for a day
MOST_GAPS = 5000  # looked at
REFUSED_S = 7 * DAY_S  # a node that refused to change its parity, or did not answer, is left alone for so long

_FIRST_ASKED = 2  # how often for the first slot of a session, though parity has filled it
_USUAL_S = 900.0  # an interval, where nothing is known


@dataclasses.dataclass(slots=True)
class Done:
    """What a call of `work` has done: requests for missing readings, other settings, gaps given up."""

    requests: int = 0
    settings: int = 0
    given_up: int = 0


class Keeper:
    """See above. One at a time for a town. `pause`: sleeps so many seconds; after every write for as long as that took,
    so that the journal never waits for more than one."""

    def __init__(self, engine: Engine, pause: Callable[[float], None] = time.sleep) -> None:
        self._engine, self._pause = engine, pause
        self._planned: dict[int, int] = {}  # node -> when, Unix ms
        self._given_up_on = -1  # day of the last look at old gaps

    def work(self, now: int | None = None) -> Done:
        """Everything that is due at `now` (Unix ms). Raises SQLAlchemyError when the database refuses; then what is not
        done yet is done by a later call."""
        now = now_ms() if now is None else now
        done = Done()
        self._settle(now)
        for session in self._to_plan(now):
            self._plan(session, now, done)
        if now // schema.DAY_MS != self._given_up_on:
            self._give_up(now, done)
            self._given_up_on = now // schema.DAY_MS
        return done

    def _settle(self, now: int) -> None:
        with self._engine.begin() as connection:
            due = [node for node in orders.unsettled(connection) if orders.is_due(connection, node, now)]
        for node in due:
            with self._writing() as connection:
                orders.settle(connection, node, now)

    def _to_plan(self, now: int) -> list[Row]:
        """The active sessions of nodes whose turn it is."""
        table, nodes = schema.sessions, schema.nodes
        wanted = (
            select(table.c.id, table.c.node_id, table.c.join_nonce, table.c.fcnt_up, table.c.heard_at)
            .join(nodes, nodes.c.id == table.c.node_id)
            .where(table.c.active, table.c.ended_at.is_(None), nodes.c.removed_at.is_(None))
            .where(table.c.heard_at > now / 1000 - 2 * DAY_S)
        )
        with self._engine.begin() as connection:
            rows = connection.execute(wanted).all()
        heard = {row.node_id for row in rows}
        self._planned = {node: at for node, at in self._planned.items() if node in heard}
        turn = [row for row in rows if not 0 <= now - self._planned.get(row.node_id, -now) < AGAIN_S * 1000]
        turn.sort(key=lambda row: self._planned.get(row.node_id, 0))
        return turn[:MOST_PLANNED]

    def _plan(self, session: Row, now: int, done: Done) -> None:
        node = session.node_id
        self._planned[node] = now
        with self._engine.begin() as connection:
            at = situation(connection, session, now)
            if now / 1000 - session.heard_at > max(HEARD_LATELY_S, 2 * at.interval_s):
                return
            plan = backfill.plan(open_gaps(connection, node, now), at)
        commands = _commands(plan)
        if not commands and not plan.lost:
            return
        with self._writing() as connection:
            if commands:
                orders.place(connection, node, commands, automatic=True, now=now)
            _note_asked(connection, node, plan.asked, now)
            _close(connection, node, plan.lost, now)
        done.requests += bool(plan.ranges)
        done.settings += plan.parity is not None
        done.given_up += len(plan.lost)
        if plan.ranges:
            _log.info("node %d is asked for %d missing readings", node, len(plan.asked))

    def _give_up(self, now: int, done: Done) -> None:
        """Once a day: what no log remembers any more, of nodes that are not heard either."""
        gaps, nodes = schema.gaps, schema.nodes
        old = and_(gaps.c.state == schema.OPEN, gaps.c.time < now - round(backfill.LOG_S * 1000))
        with self._engine.begin() as connection:
            one = select(gaps.c.fcnt).where(gaps.c.node_id == nodes.c.id, old).exists()
            found = [*connection.scalars(select(nodes.c.id).where(one))]
        for node in found:
            with self._writing() as connection:
                closed = update(gaps).where(gaps.c.node_id == node, old).values(state=schema.GIVEN_UP, state_at=now)
                done.given_up += connection.execute(closed).rowcount

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        began = time.monotonic()
        with writing(self._engine) as connection:
            yield connection
        self._pause(time.monotonic() - began)


def open_gaps(connection: Connection, node_id: int, now: int) -> list[Gap]:
    """What is missing of a node and may still come."""
    gaps, sessions = schema.gaps, schema.sessions
    wanted = (
        select(gaps, sessions.c.join_nonce)
        .join(sessions, sessions.c.id == gaps.c.session_id)
        .where(gaps.c.node_id == node_id, or_(gaps.c.state == schema.OPEN, _of_a_lost_start(now)))
        .order_by(gaps.c.time)
        .limit(MOST_GAPS)
    )
    return [
        Gap(
            row.join_nonce,
            row.fcnt,
            row.part,
            row.time / 1000,
            row.opened_at / 1000,
            row.asked,
            None if row.asked_at is None else row.asked_at / 1000,
        )
        for row in connection.execute(wanted)
    ]


def _of_a_lost_start(now: int) -> ColumnElement[bool]:
    """The first frame of a session says how many readings were made before it, while the node had no session. Where it
    was lost, parity gives its reading back but not that: the log is asked."""
    gaps = schema.gaps
    since = now - round(backfill.LOG_S * 1000)
    first = and_(gaps.c.fcnt == 0, gaps.c.part == 0, gaps.c.time > since)
    return and_(first, gaps.c.state == schema.GAP_RECOVERED, gaps.c.asked < _FIRST_ASKED)


def situation(connection: Connection, session: Row, now: int) -> Situation:
    """What the planner must know. `session`: id, node_id, join_nonce, fcnt_up, heard_at."""
    node, newest = session.node_id, session.fcnt_up
    frames = _heard(connection, session, now)
    requested = orders.latest(connection, node, "log")
    gaps = schema.gaps
    arrived = connection.execute(
        select(func.max(gaps.c.state_at)).where(gaps.c.node_id == node, gaps.c.state == schema.GAP_BACKFILLED)
    ).scalar_one()
    downlinks, own = orders.spent(connection, node, now)
    waits = requested is not None and requested.state == orders.WAITING
    at = None
    if requested is not None:
        at = requested.state_at if requested.state in (orders.SENT, orders.DONE) else requested.created_at
    return Situation(
        now=now / 1000,
        session=session.join_nonce,
        newest=newest,
        interval_s=_interval_s(frames),
        loss=_loss(frames, newest),
        steady=_steady(frames, newest, now),
        parity=_parity(orders.latest(connection, node, "parity"), now / 1000),
        downlinks=[moment / 1000 for moment in downlinks],
        own=[moment / 1000 for moment in own],
        waiting=waits,
        requested_at=at,
        arrived_at=None if arrived is None else arrived / 1000,
    )


def _heard(connection: Connection, session: Row, now: int) -> Sequence[Row]:
    """FCnt and time of the session's newest frames, rising: those of the last `SLOTS` slots, and those of the last day
    but not more than `MOST_SLOTS` back."""
    frames, newest = schema.frames, session.fcnt_up
    a_day = frames.c.time > now - round(DAY_S * 1000)
    return connection.execute(
        select(frames.c.fcnt, frames.c.time)
        .where(frames.c.session_id == session.id, frames.c.fcnt.between(newest - MOST_SLOTS + 1, newest))
        .where(or_(frames.c.fcnt > newest - SLOTS, a_day))
        .order_by(frames.c.fcnt)
    ).all()


def _loss(frames: Sequence[Row], newest: int) -> float | None:
    fcnts = [row.fcnt for row in frames if row.fcnt > newest - SLOTS]
    return backfill.loss(fcnts, newest, fcnts[0]) if fcnts else None


def _steady(frames: Sequence[Row], newest: int, now: int) -> float | None:
    """The loss of a day, or of `MOST_SLOTS`; None where the session is younger."""
    if not frames:
        return None
    oldest = frames[0]
    if oldest.time > now - 0.9 * DAY_S * 1000 and oldest.fcnt > newest - MOST_SLOTS + SLOTS:
        return None
    return backfill.loss([row.fcnt for row in frames], newest, oldest.fcnt)


def _interval_s(frames: Sequence[Row]) -> float:
    if len(frames) < 2 or frames[-1].fcnt == frames[0].fcnt:
        return _USUAL_S
    return max(1.0, (frames[-1].time - frames[0].time) / 1000 / (frames[-1].fcnt - frames[0].fcnt))


def _parity(order: orders.Order | None, now: float) -> int | None:
    """How many symbols the node sends, as far as we know; None: it is not ours to change."""
    if order is None:
        return 1
    if not order.automatic or not isinstance(order.command, Parity):
        return None
    if order.state in (orders.REFUSED, orders.EXPIRED):
        return None if now - order.state_at < REFUSED_S else 1
    return order.command.symbols


def _commands(plan: Plan) -> list[Command]:
    commands: list[Command] = []
    if plan.parity is not None:
        commands.append(Parity(plan.parity))
    if plan.ranges:
        commands.append(Log(plan.ranges))
    return commands


def _note_asked(connection: Connection, node_id: int, asked: Sequence[Gap], now: int) -> None:
    gaps = schema.gaps
    statement = update(gaps).values(asked=gaps.c.asked + 1, asked_at=now)
    _each(connection, statement.where(or_(gaps.c.state == schema.OPEN, _of_a_lost_start(now))), node_id, asked)


def _close(connection: Connection, node_id: int, lost: Sequence[Gap], now: int) -> None:
    given_up = update(schema.gaps).values(state=schema.GIVEN_UP, state_at=now).where(schema.gaps.c.state == schema.OPEN)
    _each(connection, given_up, node_id, lost)


def _each(connection: Connection, statement: Update, node_id: int, which: Sequence[Gap]) -> None:
    """`statement` for each of these gaps."""
    gaps, sessions = schema.gaps, schema.sessions
    nonces = {gap.session for gap in which}
    if not nonces:
        return
    rows = select(sessions.c.join_nonce, sessions.c.id).where(
        sessions.c.node_id == node_id, sessions.c.join_nonce.in_(nonces)
    )
    number_of = {row.join_nonce: row.id for row in connection.execute(rows)}
    one = statement.where(
        gaps.c.session_id == bindparam("of_session"),
        gaps.c.fcnt == bindparam("of_fcnt"),
        gaps.c.part == bindparam("of_part"),
    )
    connection.execute(
        one, [{"of_session": number_of[gap.session], "of_fcnt": gap.fcnt, "of_part": gap.part} for gap in which]
    )
