"""`nest set` and `nest orders`: what a maker reads, and that bad input is one sentence and a next step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nest import orders
from nest.archive import open_database, schema
from nest.archive.database import writing
from nest.archive.downlinks import DownlinkQueue
from nest.orders import Confirmed, Interval, Log, Parity, Range, Restart
from sqlalchemy import insert, update

from .commands import Here, check_said

EUI = "70b3d57ed0000001"


@pytest.fixture
def town(folder: Path, here: Here) -> Path:
    here("nodes", "add", folder, "amsel", "--dev-eui", EUI)
    return folder


def queued(town: Path) -> list[orders.Decoded]:
    engine = open_database(town / "nest.db")
    found = [orders.decode(downlink.payload) for downlink in DownlinkQueue(engine).waiting()]
    engine.dispose()
    return found


def note(town: Path, **values: object) -> None:
    """What became of all orders."""
    engine = open_database(town / "nest.db")
    with writing(engine) as connection:
        connection.execute(update(schema.orders).values(**values))
    engine.dispose()


def test_settings_go_out_together(town: Path, here: Here) -> None:
    done = here("set", town, "amsel", "--interval", 600, "--parity", 2, "--unconfirmed", "--restart")
    assert done.status == 0, done.stderr
    ordered, look = done.stdout.splitlines()
    assert ordered == (
        "Ordered: a reading every 600 s, parity symbols: 2, frames without acknowledgement, restart. "
        "It goes out after the next uplink of amsel."
    )
    assert look == f"→ See whether it has answered: nest orders {town} amsel"
    assert queued(town) == [orders.Decoded(1, (Interval(600), Parity(2), Confirmed(False), Restart()))]


@pytest.mark.parametrize(
    ("state", "english", "german"),
    [
        ("waiting", "waits for the node's next uplink", "wartet auf den nächsten Uplink des Spatzes"),
        ("sent", "sent, no answer yet", "gesendet, noch keine Antwort"),
        ("done", "done", "erledigt"),
        ("refused", "refused by the node", "vom Spatz abgelehnt"),
        ("expired", "never answered", "nie beantwortet"),
    ],
)
def test_whether_a_node_has_answered_is_shown(town: Path, here: Here, state: str, english: str, german: str) -> None:
    here("set", town, "amsel", "--interval", 600)
    note(town, state=state)
    shown = here("orders", town, "amsel").stdout
    assert f" {english} " in shown
    assert " a reading every 600 s " in shown
    shown = here("orders", town, language="de").stdout
    assert f" {german} " in shown
    assert " alle 600 s ein Messwert " in shown
    (order,) = json.loads(here("orders", town, "--json").stdout)
    assert (order["node"], order["kind"], order["value"], order["state"]) == (
        "amsel", "interval", {"seconds": 600}, state
    )  # fmt: skip
    assert order["automatic"] is False


def test_an_order_replaces_one_that_waits(town: Path, here: Here) -> None:
    here("set", town, "amsel", "--interval", 600)
    here("set", town, "amsel", "--interval", 300, "--confirmed")
    states = [(order["value"], order["state"]) for order in json.loads(here("orders", town, "--json").stdout)]
    assert states == [({"on": True}, "waiting"), ({"seconds": 300}, "waiting"), ({"seconds": 600}, "replaced")]
    assert [downlink.commands for downlink in queued(town)] == [(Interval(300), Confirmed(True))]


def test_what_the_nest_asks_a_log_for_is_shown_as_a_number(town: Path, here: Here) -> None:
    here("set", town, "amsel", "--restart")
    log = Log((Range(1, 2, 96), Range(1, 200, 4)))
    note(town, kind="log", value={**orders.to_json(log), "automatic": True})
    shown = here("orders", town).stdout
    assert " 100 readings from its log " in shown
    assert " the nest " in shown


def test_the_nest_may_choose_the_parity_again(town: Path, here: Here) -> None:
    (order,) = json.loads(here("set", town, "amsel", "--parity", "auto", "--json").stdout)
    assert (order["kind"], order["automatic"]) == ("parity", True)
    (order,) = json.loads(here("set", town, "amsel", "--parity", "0", "--json").stdout)
    assert (order["value"], order["automatic"]) == ({"symbols": 0}, False)


def test_more_than_a_day_has_room_for_waits_and_says_so(town: Path, here: Here) -> None:
    engine = open_database(town / "nest.db")
    sent = {"node_id": 1, "port": 10, "payload": b"", "confirmed": False, "queued_at": 0, "state": "waiting"}
    with writing(engine) as connection:
        connection.execute(insert(schema.downlinks), [{**sent, "state_at": 0}] * 10)
    engine.dispose()
    assert "amsel has had 10 downlinks in 24 hours" in here("set", town, "amsel", "--interval", 600).stdout
    assert " waits for room: many downlinks went out today " in here("orders", town).stdout


def test_bad_input_is_one_sentence_and_a_next_step(town: Path, here: Here) -> None:
    check_said(here("set", town, "amsel"), "There is nothing to set")
    check_said(here("set", town, "meise", "--restart"), "There is no node meise")
    check_said(here("orders", town, "meise"), "There is no node meise")
    check_said(here("set", town, "amsel", "--parity", "5"), "'5' is no number of parity symbols")
    check_said(here("set", town, "amsel", "--parity", "²"), "'²' is no number of parity symbols")
    assert here("set", town, "amsel", "--interval", 4).status == 2
    assert here("set", town, "amsel", "--interval", 65536).status == 2
    assert queued(town) == []


def test_before_the_first_order_the_way_to_it_is_shown(town: Path, here: Here) -> None:
    assert "nest set" in here("orders", town).stdout
    assert json.loads(here("orders", town, "--json").stdout) == []


@pytest.mark.parametrize("command", ["set", "orders"])
@pytest.mark.parametrize("language", ["en", "de"])
def test_the_help_has_examples(here: Here, command: str, language: str) -> None:
    shown = here(command, "--help", language=language).stdout
    assert f"nest {command} ./town" in shown
