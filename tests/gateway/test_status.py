"""What the nest tells of itself: the snapshot, what of it is public, and how `nest status` says it."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from nest import outcomes, status
from nest.archive import open_database
from nest.i18n import translate
from nest.registry import Registry

from .commands import Here
from .snapshots import EUI, NOW, OTHER, STRANGER, snapshot


def test_the_snapshot_is_json_and_says_what_an_operator_needs() -> None:
    full = json.loads(json.dumps(snapshot()))
    speaking, silent = full["gateways"]
    assert speaking["eui"] == EUI
    assert (speaking["protocol"], speaking["downlink_path"]) == ("basics_station", True)
    assert (speaking["frames"], speaking["useless"], speaking["downlinks"], speaking["refused"]) == (12, 2, 3, 1)
    assert speaking["airtime_left"] == {"868.0-868.6": 0.25, "869.4-869.65": 1.0}
    assert (silent["eui"], silent["last_seen"], silent["protocol"]) == (OTHER, None, None)
    (stranger,) = full["strangers"]
    assert (stranger["eui"], stranger["count"]) == (STRANGER, 1)
    assert (full["outbox_waiting"], full["batch_waiting"], full["downlinks_waiting"]) == (5, 0, 1)


def test_no_token_and_not_even_its_fingerprint_is_in_it() -> None:
    assert "ab" * 32 not in json.dumps(snapshot())


def test_what_is_public_names_no_gateway_no_address_no_stranger_and_no_place() -> None:
    shown = json.dumps(status.public(snapshot(trouble="disk full: /home/otto")))
    for secret in (EUI, STRANGER, "203.0.113.9", "51.3", "Rathaus", "nest:1883", "/home/otto", '"pid"', "8080"):
        assert secret not in shown
    assert status.public(snapshot())["strangers"] == 1
    assert [gateway["frames"] for gateway in status.public(snapshot())["gateways"]] == [12, 0]


@pytest.mark.parametrize(
    ("trouble", "waiting", "is_stuck"), [(None, 0, False), (None, 60, False), ("full", 0, False), ("full", 3, True)]
)
def test_stuck_is_what_waits_for_a_database_that_refuses(trouble: str | None, waiting: int, is_stuck: bool) -> None:
    full = snapshot(trouble=trouble, batch_waiting=waiting)
    assert status.stuck(full) is is_stuck
    assert status.public(full)["stored"] is not is_stuck


def test_a_snapshot_of_an_earlier_version_is_still_understood(folder: Path, here: Here) -> None:
    """The nest was updated and has not been started since."""
    engine = open_database(folder / "nest.db")
    old = {
        "running": False, "pid": 1, "started_at": 1.0, "ports": {}, "counters": {"accepted": 3}, "nodes": 1,
        "gateways": [{"eui": EUI, "last_seen": 1.0, "frames": 3, "downlinks": 0, "stat": None}],
        "downlinks_waiting": 0, "mqtt": {},
    }  # fmt: skip
    status.save(engine, old)
    assert status.public(old)["gateways"][0]["frames"] == 3
    assert EUI in here("status", folder).stdout
    assert here("gateways", "list", folder).status == 0


def test_a_snapshot_whose_process_is_gone_says_so(folder: Path) -> None:
    engine = open_database(folder / "nest.db")
    status.save(engine, snapshot())
    loaded = status.load(engine)
    assert loaded
    assert loaded["running"]  # this very process
    status.save(engine, {**snapshot(), "pid": 2**22 + 1})  # more than Linux gives out
    loaded = status.load(engine)
    assert loaded
    assert not loaded["running"]


def test_nodes_heard_and_silent(folder: Path) -> None:
    engine = open_database(folder / "nest.db")
    registry = Registry(engine)
    for number, slug in enumerate(("amsel", "meise", "uhu")):
        registry.add(slug, f"{number:016x}")
    registry.remove("uhu")
    add_frame(engine, "amsel", NOW)
    assert status.heard_since(engine, NOW - 10) == (1, ["meise"])
    assert status.heard_since(engine, NOW + 10) == (0, ["amsel", "meise"])


def add_frame(engine: Any, slug: str, moment: float) -> None:
    """A stored frame of a node, without the network server."""
    from nest.archive import schema
    from sqlalchemy import insert, select

    with engine.begin() as connection:
        node = connection.execute(select(schema.nodes.c.id).where(schema.nodes.c.slug == slug)).scalar_one()
        session = connection.execute(
            insert(schema.sessions).values(**required(schema.sessions, node_id=node)).returning(schema.sessions.c.id)
        ).scalar_one()
        values = required(schema.frames, node_id=node, session_id=session, time=int(moment * 1000), heard=[])
        connection.execute(insert(schema.frames).values(**values))


def required(table: Any, **given: object) -> dict[str, object]:
    """Something for every column that must not be NULL."""
    zero = {"BLOB": b"", "BOOLEAN": False, "VARCHAR": "", "JSON": []}
    made = {
        column.name: zero.get(str(column.type).split("(")[0], 0)
        for column in table.columns
        if not column.nullable and not column.primary_key
    }
    return {**made, **given}


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        (
            "en",
            ["The nest runs.", "TROUBLE: the database refuses (disk \\x1b[2Jfull)", "Heard in the last 24 h: 0 of 1.",
             "Silent: amsel", "Waiting: 3 for the database, 5 for MQTT.", "Basics Station", "open", "25 %",
             "Uplinks taken", "fresh data frame, stored [accepted]", "known device or address", "1 gateways knock"],
        ),
        (
            "de",
            ["Das Nest läuft.", "STÖRUNG", "In den letzten 24 h gehört: 0 von 1.", "Stumm: amsel", "offen",
             "Angenommene Uplinks", "neuer Datenframe, gespeichert [accepted]", "falsche Signatur [mic_bad]"],
        ),
    ],
)  # fmt: skip
def test_nest_status_says_it_in_plain_words(folder: Path, here: Here, language: str, sentences: list[str]) -> None:
    engine = open_database(folder / "nest.db")
    Registry(engine).add("amsel", "0000000000000001")
    status.save(engine, snapshot(trouble="disk \x1b[2Jfull", batch_waiting=3))
    done = here("status", folder, language=language)
    assert done.status == 0, done.stderr
    for sentence in sentences:
        assert sentence in done.stdout
    assert "\x1b" not in done.stdout
    assert "[replay]" not in done.stdout  # what never happened needs no line


def test_nest_status_for_programs(folder: Path, here: Here) -> None:
    status.save(open_database(folder / "nest.db"), snapshot())
    full = json.loads(here("status", folder, "--json").stdout)
    assert full["gateways"][0]["airtime_left"]["868.0-868.6"] == 0.25
    assert (full["nodes_heard"], full["nodes_silent"], full["archive"]["frames"]) == (0, [], 0)
    assert time.time() - full["updated_at"] < 60


# the counters


def kinds() -> dict[str, str]:
    """Every kind that any part of the nest counts."""
    from nest import network
    from nest.forwarders import basics_station, semtech_packets
    from nest.forwarders import gateways as forwarders
    from nest.lorawan import effects

    parts = (semtech_packets, basics_station, forwarders, network, effects)
    return {kind: sentence for part in parts for kind, sentence in part.KINDS.items()}


@pytest.mark.parametrize("kind", kinds())
def test_every_counter_is_said_in_plain_words(kind: str) -> None:
    words = outcomes.words(kind)
    assert words != kind
    assert translate(words, "de") != words, f"{words!r} is missing in de.po"


def test_every_group_has_a_title_and_knows_only_kinds_that_are_counted() -> None:
    assert {*outcomes.GROUPS, outcomes.PROTOCOL} == set(outcomes.TITLES)
    for kinds_of_group in outcomes.GROUPS.values():
        assert set(kinds_of_group) <= set(kinds())
    for title in outcomes.TITLES.values():
        assert translate(title, "de") != title


def test_what_the_network_server_counts_is_in_a_group_of_its_own() -> None:
    from nest import network
    from nest.lorawan import effects

    for kind in (*effects.KINDS, *network.KINDS):
        assert outcomes.group_of(kind) != outcomes.PROTOCOL, kind


def test_groups_add_up() -> None:
    counters = {"accepted": 5, "late_frame": 1, "mic_bad": 2, "crc_bad": 0, "push_data": 7, "something_new": 1}
    found = {group.name: (group.total, group.kinds) for group in outcomes.grouped(counters)}
    assert found == {
        "accepted": (6, {"accepted": 5, "late_frame": 1}),
        "refused": (2, {"mic_bad": 2}),
        "protocol": (8, {"push_data": 7, "something_new": 1}),
    }
    assert sum(total for total, _ in found.values()) == sum(counters.values())


@pytest.mark.parametrize(
    ("answer", "english", "german"),
    [
        ((200, {"status": "ok"}), None, None),
        ((503, {"status": "failing", "reason": "what is heard waits for the database"}), "waits for the", "wartet auf"),
        ((503, {"status": "failing", "reason": "\x1b[2J"}), "\\x1b[2J", "\\x1b[2J"),
        ((503, None), "does not answer", "antwortet nicht"),
        ((200, ["something else"]), "does not answer", "antwortet nicht"),
        (None, "does not answer", "antwortet nicht"),
    ],
)
def test_a_nest_whose_database_takes_no_word_of_it_is_asked_itself(
    folder: Path, here: Here, answer: tuple[int, Any] | None, english: str | None, german: str | None
) -> None:
    """On a full disk its last word there says that all is well."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if answer is None:
                return  # it closes the connection
            assert self.path == "/health"
            self.send_response(answer[0])
            self.end_headers()
            self.wfile.write(b"?" if answer[1] is None else json.dumps(answer[1]).encode())

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002  as it is called there
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        status.save(open_database(folder / "nest.db"), snapshot(ports={"web": server.server_port}))
        for language, sentence in (("en", english), ("de", german)):
            told = here("status", folder, language=language).stdout
            trouble = {"en": "TROUBLE", "de": "STÖRUNG"}[language]
            assert (trouble in told) == (sentence is not None)
            assert (sentence or "") in told
            assert "\x1b" not in told
        server.shutdown()
