"""Orders in the database, and the keeper that writes them for what is missing; the network server's part and the
node's are played by hand."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from gateway.archive import bursts
from nest import backfill, orders
from nest.archive import open_database, schema
from nest.archive.database import journal_connection, writing
from nest.archive.downlinks import DownlinkQueue
from nest.archive.journal import Journal
from nest.archive.orders import Orders, answered, place, settle
from nest.database_url import DatabaseServer
from nest.keeper import Keeper
from nest.lorawan.effects import DownlinkOutcome
from nest.model import SessionState
from nest.moments import now_ms
from nest.orders import Command, Confirmed, Interval, Log, Parity, Range, Restart
from nest.registry import Registry
from nest.server import Nest
from nest.town import load
from sqlalchemy import Engine, event, insert, select, update

DAY_MS, HOUR_MS, MINUTE_MS = 86_400_000, 3_600_000, 60_000
START = 20_000 * DAY_MS
INTERVAL_MS = 15 * MINUTE_MS
NONCE = 0x0201A7


class Town:
    """A database with one node that has joined."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.node = Registry(engine).add("amsel", "70b3d57ed0000001").id
        self.now = START
        self.session = self.join(NONCE)
        self.fcnt = -1
        self.keeper = Keeper(engine, pause=lambda _: None)

    def join(self, nonce: int) -> int:
        sessions = schema.sessions
        ended = update(sessions).where(sessions.c.node_id == self.node)
        values: dict[str, Any] = dict.fromkeys(
            ("rx1_delay_s", "rx1_dr_offset", "rx2_dr", "rx2_freq_hz", "fcnt_down", "dev_addr"), 1
        )
        with writing(self.engine) as connection:
            connection.execute(ended.values(ended_at=self.now, active=False))
            return connection.execute(
                insert(sessions)
                .values(
                    node_id=self.node, join_nonce=nonce, fcnt_up=-1, active=True, joined_at=self.now / 1000, **values
                )
                .returning(sessions.c.id)
            ).scalar_one()

    def hear(self, fcnt: int, *, minutes: float = 15) -> None:
        """A frame, `minutes` later, and the gaps that it opens."""
        self.now += round(minutes * MINUTE_MS)
        with writing(self.engine) as connection:
            connection.execute(
                insert(schema.frames).values(
                    node_id=self.node, session_id=self.session, fcnt=fcnt, time=self.now, fport=1, payload=b"",
                    phy=b"", confirmed=False, freq_hz=868_100_000, sf=7, bw_hz=125_000, heard=[], decoded=1,
                )
            )  # fmt: skip
            connection.execute(
                update(schema.sessions)
                .where(schema.sessions.c.id == self.session)
                .values(fcnt_up=fcnt, heard_at=self.now / 1000)
            )
            gap = {"session_id": self.session, "part": 0, "node_id": self.node, "opened_at": self.now, "state": 0}
            missing = [
                {**gap, "fcnt": slot, "time": self.now - (fcnt - slot) * INTERVAL_MS, "state_at": self.now, "asked": 0}
                for slot in range(self.fcnt + 1, fcnt)
            ]
            if missing:
                connection.execute(insert(schema.gaps), missing)
        self.fcnt = fcnt

    def hear_all(self, count: int) -> None:
        for fcnt in range(self.fcnt + 1, self.fcnt + 1 + count):
            self.hear(fcnt)

    def silence(self, slots: int) -> None:
        """The gateway is away."""
        self.hear(self.fcnt + slots + 1, minutes=15 * (slots + 1))

    def work(self) -> None:
        self.keeper.work(self.now)

    def send(self, state: str = "sent") -> orders.Decoded:
        """The network server takes the one downlink that waits, and sends it."""
        (downlink,) = DownlinkQueue(self.engine).take()
        self.outcome(downlink.id, state)
        assert downlink.port == orders.FPORT
        return orders.decode(downlink.payload)

    def outcome(self, number: int, state: str) -> None:
        with writing(self.engine) as connection:
            connection.execute(
                update(schema.downlinks).where(schema.downlinks.c.id == number).values(state=state, state_at=self.now)
            )

    def answer(self, ticket: int, result: int = 0) -> int:
        """The node's answer, through the journal's kind of connection."""
        connection = journal_connection(self.engine, 1000)
        try:
            connection.execute("BEGIN IMMEDIATE")
            found = answered(connection, self.node, ticket, result, self.now)
            connection.execute("COMMIT")
        finally:
            connection.close()
        return found

    def order(self, *commands: Command, automatic: bool = False) -> None:
        with writing(self.engine) as connection:
            place(connection, self.node, commands, automatic=automatic, now=self.now)

    def went_out_with_ticket(self, ticket: int) -> None:
        """So many orders ago."""
        number = DownlinkQueue(self.engine).add(self.node, orders.FPORT, bytes([ticket]))
        self.outcome(number, "sent")

    def settle(self) -> None:
        with writing(self.engine) as connection:
            settle(connection, self.node, self.now)

    def states(self) -> list[tuple[str, str]]:
        """Kind and state of each order, oldest first."""
        return [(order.command.kind, order.state) for order in reversed(Orders(self.engine).list())]

    def waiting(self) -> list[orders.Decoded]:
        return [orders.decode(downlink.payload) for downlink in DownlinkQueue(self.engine).waiting()]

    def rows(self, table: Any) -> Sequence[Any]:
        with self.engine.begin() as connection:
            return connection.execute(select(table)).all()


@pytest.fixture
def town(where: Path | DatabaseServer) -> Iterator[Town]:
    engine = open_database(where)
    if isinstance(where, Path):  # thousands of frames need not wait for the disk
        event.listen(engine, "checkout", lambda raw, *_: raw.execute("PRAGMA synchronous = OFF"))
    yield Town(engine)
    engine.dispose()


# -- orders


def test_an_order_goes_out_and_is_answered(town: Town) -> None:
    town.order(Interval(600), Parity(2))
    assert town.states() == [("interval", "waiting"), ("parity", "waiting")]
    sent = town.send()
    assert sent == orders.Decoded(1, (Interval(600), Parity(2)))
    assert town.states() == [("interval", "sent"), ("parity", "sent")], "before anybody has noted it"
    assert town.answer(sent.ticket) == 2
    assert town.states() == [("interval", "done"), ("parity", "done")]


def test_the_journal_hears_the_answer(engine: Engine, journal: Journal, state: SessionState) -> None:
    journal.commit([bursts.store(state, 0, activates=True)])
    (node,) = Registry(engine).list()
    Orders(engine).place(node.id, [Interval(600), Parity(2)])
    (downlink,) = DownlinkQueue(engine).take()
    answer = bytes.fromhex("40 03 02") + bytes([downlink.payload[0], 2])  # extras of three bytes: ANSWER, the second no
    outcome = DownlinkOutcome(state.dev_eui, downlink.id, "sent")
    journal.commit([outcome, bursts.store(state, 1, bursts.CLIMATE + answer, at=1900.0)])
    states = [(order.command.kind, order.state) for order in reversed(Orders(engine).list())]
    assert states == [("interval", "done"), ("parity", "refused")]


def test_what_a_node_refuses_is_refused_with_all_behind_it(town: Town) -> None:
    town.order(Interval(600), Parity(2), Restart())
    town.answer(town.send().ticket, 2)
    assert town.states() == [("interval", "done"), ("parity", "refused"), ("restart", "refused")]


def test_an_answer_to_what_nobody_asked_changes_nothing(town: Town) -> None:
    assert town.answer(1) == 0
    town.order(Interval(600))
    assert town.answer(1) == 0, "it has not gone out"
    town.send()
    assert town.answer(9) == 0
    assert town.states() == [("interval", "sent")]
    assert town.answer(1, 200) == 1, "a node that refuses the 200th command has done the first"
    assert town.states() == [("interval", "done")]
    assert town.answer(1, 1) == 0, "the last word was said"
    assert town.states() == [("interval", "done")]


def test_a_newer_order_takes_the_place_of_one_that_waits(town: Town) -> None:
    town.order(Interval(600), Confirmed(True))
    town.order(Interval(300))
    assert town.states() == [("interval", "replaced"), ("confirmed", "waiting"), ("interval", "waiting")]
    (waiting,) = town.waiting()
    assert waiting.commands == (Confirmed(True), Interval(300)), "one downlink for all that waits"
    assert [downlink.state for downlink in town.rows(schema.downlinks)] == ["replaced", "waiting"]


def test_a_downlink_that_the_network_server_has_is_asked_back(town: Town) -> None:
    queue = DownlinkQueue(town.engine)
    town.order(Interval(600))
    queue.take()
    town.order(Interval(300))
    (withdrawn,) = queue.withdrawn()
    assert orders.decode(withdrawn.payload).commands == (Interval(600),)
    queue.take_back()
    assert not queue.withdrawn(), "a network server that starts has it no more"
    assert [waiting.commands for waiting in town.waiting()] == [(Interval(300),)]


def test_tickets_count_round_and_are_never_0(town: Town) -> None:
    town.went_out_with_ticket(252)
    tickets = []
    for number in range(6):
        town.now += 3 * HOUR_MS
        town.order(Interval(300 + number))
        tickets.append(town.send().ticket)
        town.answer(tickets[-1])
    assert tickets == [253, 254, 255, 1, 2, 3]
    assert set(town.states()) == {("interval", "done")}


def test_a_ticket_that_comes_round_is_the_newest_order_s(town: Town) -> None:
    town.order(Confirmed(True))
    first = town.send().ticket
    town.went_out_with_ticket(255)
    town.order(Interval(600))
    assert town.send().ticket == first
    assert town.answer(first) == 1
    assert town.states() == [("confirmed", "sent"), ("interval", "done")]


def test_more_than_ten_downlinks_a_day_wait(town: Town) -> None:
    for number in range(10):
        town.order(Interval(300 + number))
        town.send()
        town.answer(number + 1)
    town.order(Interval(900))
    assert not town.waiting()
    assert not Orders(town.engine).list()[0].downlink
    town.now += DAY_MS - MINUTE_MS
    town.work()
    assert not town.waiting()
    town.now += MINUTE_MS
    town.work()
    assert [waiting.commands for waiting in town.waiting()] == [(Interval(900),)]


def test_a_setting_that_is_not_answered_is_sent_again_and_again_and_then_given_up(town: Town) -> None:
    town.order(Interval(600))
    gone_out = []
    for _ in range(140):
        if town.waiting():
            gone_out.append((town.now - START) // MINUTE_MS)
            town.send()
        town.hear(town.fcnt + 1)
        town.settle()
    assert town.states() == [("interval", "expired")]
    waits = [later - earlier for earlier, later in itertools.pairwise(gone_out)]
    assert waits == [30, 30, 60, 120, 240, 480, 960]
    assert town.answer(8) == 1, "a gateway has held its answer back"
    assert town.states() == [("interval", "done")]


def test_an_order_of_which_nothing_was_heard_yet_is_waited_for(town: Town) -> None:
    town.order(Interval(600))
    town.send()
    town.now += 20 * DAY_MS
    town.settle()
    assert town.states() == [("interval", "sent")]
    town.hear(0)
    town.settle()
    assert town.states() == [("interval", "sent")], "that frame may have been on its way"
    town.hear(1)
    town.settle()
    assert town.states() == [("interval", "waiting")]


@pytest.mark.parametrize("state", ["too_long", "refused", "removed"])
def test_an_order_whose_downlink_is_gone_expires(town: Town, state: str) -> None:
    town.order(Interval(600))
    town.send(state)
    town.settle()
    assert town.states() == [("interval", "expired")]


def test_an_old_request_of_the_nest_is_taken_back_and_one_of_people_is_not(town: Town) -> None:
    town.order(Log((Range(1, 2, 3),)), automatic=True)
    town.order(Interval(600))
    town.now += 7 * DAY_MS + 1
    town.settle()
    assert town.states() == [("log", "expired"), ("interval", "waiting")]
    assert [waiting.commands for waiting in town.waiting()] == [(Interval(600),)]


def test_what_cannot_be_ordered_leaves_nothing_behind(town: Town) -> None:
    with pytest.raises(ValueError, match="is not within"):
        Orders(town.engine).place(town.node, [Parity(2), Interval(1)])
    assert not town.rows(schema.orders)
    assert not town.rows(schema.downlinks)


# -- the keeper


def test_after_an_outage_everything_is_asked_for_and_noted(town: Town) -> None:
    town.hear_all(120)
    town.silence(96)
    town.work()
    assert not town.waiting(), "a gateway that comes back may bring what it held back"
    town.hear_all(2)
    town.work()
    (request,) = town.waiting()
    assert request.commands == (Log((Range(NONCE & 0xFF, 120, 96),)),)
    assert {(gap.asked, gap.asked_at) for gap in town.rows(schema.gaps)} == {(1, town.now)}
    town.work()
    town.hear_all(3)
    town.work()
    assert len(town.rows(schema.orders)) == 1, "it waits"


def test_gaps_that_are_closed_are_not_asked_for(town: Town) -> None:
    town.hear_all(120)
    town.silence(96)
    town.hear_all(2)
    with writing(town.engine) as connection:
        closed = update(schema.gaps).where(schema.gaps.c.fcnt < 160)
        connection.execute(closed.values(state=1, state_at=town.now))
    town.work()
    (request,) = town.waiting()
    assert request.commands == (Log((Range(NONCE & 0xFF, 160, 56),)),)


def test_what_an_ended_session_left_is_asked_for_by_its_own_number(town: Town) -> None:
    town.hear_all(50)
    town.silence(3)
    town.session, town.fcnt = town.join(NONCE + 1), -1
    town.hear_all(3)
    town.work()
    (request,) = town.waiting()
    assert request.commands == (Log((Range(NONCE & 0xFF, 50, 3),)),)


def test_a_node_that_is_not_heard_is_not_asked(town: Town) -> None:
    town.hear_all(120)
    town.silence(96)
    town.hear_all(1)
    town.now += 2 * HOUR_MS
    town.work()
    assert not town.waiting()


def test_a_slow_node_is_asked_in_its_own_time(town: Town) -> None:
    for fcnt in range(60):
        town.hear(fcnt, minutes=180)
    town.hear(120, minutes=61 * 180)
    town.now += 3 * HOUR_MS
    town.work()
    assert len(town.waiting()) == 1


def test_a_second_symbol_is_ordered_for_a_node_of_which_much_is_lost_and_taken_back_later(town: Town) -> None:
    for fcnt in range(0, 120, 2):
        town.hear(fcnt, minutes=30)
    town.work()
    (request,) = town.waiting()
    assert request.commands[0] == Parity(2), "what else there is to say goes with it"
    town.answer(town.send().ticket)
    for _ in range(10):
        town.hear_all(4)
        town.work()
        assert not [order for order in town.waiting() if Parity(1) in order.commands]
    for _ in range(25):
        town.hear_all(4)
        town.work()
    (request,) = town.waiting()
    assert Parity(1) in request.commands


def test_the_parity_that_people_chose_stays(town: Town) -> None:
    town.order(Parity(0))
    town.answer(town.send().ticket)
    for fcnt in range(0, 120, 2):
        town.hear(fcnt, minutes=30)
    town.work()
    assert not any(Parity(2) in request.commands for request in town.waiting())
    town.order(Parity(1), automatic=True)  # nest set --parity auto
    town.answer(town.send().ticket)
    town.hear(town.fcnt + 2)
    town.work()
    assert any(Parity(2) in request.commands for request in town.waiting())


def test_what_no_log_has_any_more_is_given_up_though_the_node_is_never_heard_again(town: Town) -> None:
    town.hear_all(10)
    town.silence(5)
    town.work()
    town.now += 31 * DAY_MS
    town.work()
    assert {gap.state for gap in town.rows(schema.gaps)} == {schema.GIVEN_UP}
    assert not [order for order in Orders(town.engine).list() if order.state in ("waiting", "sent")]


def test_the_nest_leaves_people_room(town: Town) -> None:
    """A node that loses everything: the nest asks a few times, and somebody can still order something."""
    town.hear_all(120)
    for _ in range(12):
        town.silence(60)
        for _ in range(3):
            town.hear_all(1)
            town.work()
            if town.waiting():
                town.send()
    sent = [downlink.state_at for downlink in town.rows(schema.downlinks) if downlink.state == "sent"]
    assert max(sum(at - DAY_MS < other <= at for other in sent) for at in sent) <= backfill.OWN_A_DAY
    assert len(sent) <= 2 * (town.now - START) / DAY_MS
    town.order(Interval(600))
    assert town.waiting()


# -- in the running nest


async def test_the_running_nest_keeps_its_orders_and_goes_on_meanwhile(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nest.server.EVERY_S", 0.01)
    held, worked = threading.Event(), threading.Event()
    work = Keeper.work

    def slowly(keeper: Keeper, now: int | None = None) -> object:
        held.wait(20)
        done = work(keeper, now)
        worked.set()
        return done

    monkeypatch.setattr(Keeper, "work", slowly)
    engine = open_database(folder / "nest.db")
    town = Town(engine)
    town.now = now_ms()
    town.order(Interval(600))
    town.send("removed")
    ready = asyncio.Event()
    nest = Nest(load(folder), lambda event: ready.set() if event["event"] == "ready" else None)
    running = asyncio.create_task(nest.run())
    async with asyncio.timeout(20):
        await ready.wait()
        assert town.states() == [("interval", "waiting")], "the keeper is held up, and nothing else"
        held.set()
        await asyncio.to_thread(worked.wait, 20)
        nest.stop()
        await running
    assert town.states() == [("interval", "expired")]
    engine.dispose()


def test_an_old_first_frame_that_parity_gave_back_is_not_given_up(town: Town) -> None:
    town.hear(3)
    with writing(town.engine) as connection:
        connection.execute(update(schema.gaps).values(state=schema.GAP_RECOVERED))
    town.now += 31 * DAY_MS
    town.hear_all(10)
    assert town.keeper.work(town.now).given_up == 0, "it is not missing"


def test_a_first_frame_that_parity_gave_back_is_asked_for_what_it_told_besides(town: Town) -> None:
    """How many readings were made before the join: parity does not carry that, and the log has them."""
    town.hear(3)
    with writing(town.engine) as connection:
        connection.execute(update(schema.gaps).values(state=1))
    town.hear_all(200)
    town.work()
    sent = town.send()
    assert [command for command in sent.commands if isinstance(command, Log)] == [Log((Range(NONCE & 0xFF, 0, 1),))]
    town.answer(sent.ticket)
    asked = 1
    for _ in range(40):
        town.hear_all(10)
        town.work()
        if DownlinkQueue(town.engine).waiting():
            town.answer(town.send().ticket)
            asked += 1
    assert asked == 2
    with town.engine.begin() as connection:
        assert {*connection.scalars(select(schema.gaps.c.state))} == {1}
