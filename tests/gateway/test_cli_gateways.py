"""`nest gateways …` and `nest token`: who is let in, who knocks, and tokens that are shown once."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from nest import status
from nest.archive import meta, open_database
from nest.gateways import GatewayRegistry
from nest.tokens import fingerprint

from . import snapshots
from .commands import Done, Here, check_said

EUI = "0016c001f1500812"
STRANGER = snapshots.STRANGER
TOKEN = re.compile(r"[\w-]{43}")


def in_database(folder: Path) -> str:
    """Every byte that is kept of a town, as text."""
    return "".join(file.read_bytes().decode("latin-1") for file in sorted(folder.rglob("*")) if file.is_file())


def test_a_gateway_is_added_listed_and_removed(folder: Path, here: Here) -> None:
    added = here(
        "gateways", "add", folder, EUI.upper(), "--name", "Rathaus", "--latitude", 51.3, "--longitude", 12.6,
        "--altitude", 150, "--antenna-gain", 5,
    )  # fmt: skip
    assert added.status == 0, added.stderr
    assert EUI in added.stdout
    assert "token" not in added.stdout
    (listed,) = json.loads(here("gateways", "list", folder, "--json").stdout)["gateways"]
    assert listed == {
        "eui": EUI, "name": "Rathaus", "latitude": 51.3, "longitude": 12.6, "altitude_m": 150.0,
        "antenna_gain_dbi": 5.0, "station": False, "protocol": None, "last_seen": None, "frames": 0, "downlinks": 0,
        "software": "", "stat": None,
    }  # fmt: skip
    shown = here("gateways", "list", folder).stdout
    assert EUI in shown
    assert "never" in shown
    assert here("gateways", "remove", folder, EUI).status == 0
    assert json.loads(here("gateways", "list", folder, "--json").stdout) == {"gateways": [], "strangers": []}


def test_an_empty_list_says_how_to_fill_it(folder: Path, here: Here) -> None:
    assert f"nest gateways add {folder} EUI" in here("gateways", "list", folder).stdout


def token_in(done: Done) -> str:
    assert done.status == 0, done.stderr
    (found,) = {match for match in TOKEN.findall(done.stdout) if len(match) == 43}
    return found


def test_a_station_gets_a_token_and_the_two_lines_for_it(folder: Path, here: Here) -> None:
    done = here("gateways", "add", folder, EUI, "--station")
    token = token_in(done)
    assert f"tc.key:  Authorization: Bearer {token}" in done.stdout
    assert re.search(r"tc\.uri:  ws://[^/\s]+:\d+\n", done.stdout)
    known = GatewayRegistry(open_database(folder / "nest.db")).get(EUI)
    assert known
    assert known.token == fingerprint(token)
    assert token not in in_database(folder)
    assert token not in here("gateways", "list", folder).stdout + here("gateways", "list", folder, "--json").stdout


def test_the_address_says_whether_there_is_tls(folder: Path, here: Here) -> None:
    text = (folder / "town.toml").read_text()
    text = text.replace('certificate = ""', 'certificate = "tls.pem"').replace('key = ""', 'key = "tls.key"')
    head, tail = text.split("[basics_station]")
    tail = tail.replace('host = "0.0.0.0"', 'host = "lora.example"', 1).replace("port = 0", "port = 8887", 1)
    (folder / "town.toml").write_text(f"{head}[basics_station]{tail}")
    done = json.loads(here("gateways", "add", folder, EUI, "--station", "--json").stdout)
    assert done["tc.uri"] == "wss://lora.example:8887"
    assert done["tc.key"].startswith("Authorization: Bearer ")


def test_a_new_token_makes_the_old_one_void(folder: Path, here: Here) -> None:
    first = token_in(here("gateways", "add", folder, EUI, "--station"))
    second = token_in(here("gateways", "token", folder, EUI))
    assert first != second
    known = GatewayRegistry(open_database(folder / "nest.db")).get(EUI)
    assert known
    assert known.token == fingerprint(second)


def knocking(folder: Path) -> None:
    known = {
        "eui": EUI, "name": "x", "protocol": "semtech_udp", "last_seen": time.time() - 90, "frames": 7, "downlinks": 1,
    }  # fmt: skip
    stranger = {
        "eui": "00000000000000ff", "protocol": "basics_station", "last_seen": time.time() - 30, "count": 3,
        "address": "203.0.113.9\x1b[31m",
    }  # fmt: skip
    full = {"running": False, "pid": 1, "counters": {}, "mqtt": {}, "gateways": [known], "strangers": [stranger]}
    status.save(open_database(folder / "nest.db"), full)


@pytest.mark.parametrize(("language", "knock"), [("en", "not let in"), ("de", "nicht eingelassen")])
def test_strangers_are_shown_with_the_command_that_admits_them(
    folder: Path, here: Here, language: str, knock: str
) -> None:
    here("gateways", "add", folder, EUI)
    knocking(folder)
    shown = here("gateways", "list", folder, language=language).stdout
    assert knock in shown
    assert "Basics Station" in shown
    assert "\x1b" not in shown
    assert "203.0.113.9" in shown
    command = f"gateways add {folder} 00000000000000ff"
    assert f"nest {command}" in shown
    assert here(*command.split()).status == 0


def test_what_the_running_nest_said_of_a_gateway_is_listed(folder: Path, here: Here) -> None:
    here("gateways", "add", folder, EUI)
    knocking(folder)
    (listed,) = json.loads(here("gateways", "list", folder, "--json").stdout)["gateways"]
    assert (listed["protocol"], listed["frames"]) == ("semtech_udp", 7)
    assert time.time() - listed["last_seen"] < 120


def test_what_was_noted_of_a_gateway_outlives_the_nest(folder: Path, here: Here) -> None:
    engine = open_database(folder / "nest.db")
    for eui in (snapshots.EUI, snapshots.OTHER):
        GatewayRegistry(engine).add(eui)
    told = snapshots.snapshot()
    told["gateways"][0]["stat"] = {"rxok": 2}
    status.save(engine, told)
    forgotten = [{**gateway, "protocol": None, "last_seen": None, "stat": None} for gateway in told["gateways"]]
    status.save(engine, {**told, "gateways": forgotten})  # the next run, which has not heard it yet
    for command in (("gateways", "list", folder, "--json"), ("status", folder, "--json")):
        heard, never = json.loads(here(*command).stdout)["gateways"]
        assert (heard["protocol"], heard["last_seen"]) == ("basics_station", snapshots.NOW - 5)
        assert heard["stat"] == {"rxok": 2}
        assert (never["protocol"], never["last_seen"]) == (None, None)


def test_in_a_narrow_window_euis_stay_whole(folder: Path, here: Here) -> None:
    for number in range(3):
        here("gateways", "add", folder, f"0016c001f150081{number}", "--name", "A gateway with a name of some length")
    status.save(open_database(folder / "nest.db"), snapshots.snapshot())
    for command, eui in (("gateways list", "0016c001f1500812"), ("gateways list", STRANGER), ("status", snapshots.EUI)):
        assert eui in here(*command.split(), folder, columns=80).stdout


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize(
    ("command", "english", "german"),
    [
        (("gateways", "add", "{folder}", "70b3"), "16 hex digits", "16 Hex-Ziffern"),
        (("gateways", "add", "{folder}", EUI, "--latitude", "51"), "two numbers", "zwei Zahlen"),
        (("gateways", "add", "{folder}", EUI, "--name", "a\nb"), "cannot be shown", "nicht als Name"),
        (("gateways", "remove", "{folder}", EUI), "no gateway", "Gateway"),
        (("gateways", "token", "{folder}", EUI), "no gateway", "Gateway"),
    ],
)
def test_refusals_are_one_sentence_and_a_next_step(
    folder: Path, here: Here, command: tuple[str, ...], english: str, german: str, language: str
) -> None:
    done = here(*(part.replace("{folder}", str(folder)) for part in command), language=language)
    check_said(done, {"en": english, "de": german}[language])
    assert "label" not in done.stderr  # that is where a node's EUI stands
    assert "Aufkleber" not in done.stderr


def test_a_gateway_that_is_there_already_is_named(folder: Path, here: Here) -> None:
    here("gateways", "add", folder, EUI)
    check_said(here("gateways", "add", folder, EUI), EUI)


# the operator's own token


def test_init_shows_the_admin_token_once(tmp_path: Path, here: Here) -> None:
    token = token_in(here("init", tmp_path / "t", "--name", "Ort"))
    assert meta.get(open_database(tmp_path / "t" / "nest.db"), meta.ADMIN_TOKEN) == fingerprint(token)
    assert token not in in_database(tmp_path / "t")


def test_init_for_programs(tmp_path: Path, here: Here) -> None:
    made = json.loads(here("init", tmp_path / "t", "--name", "Bad Ort", "--json").stdout)
    assert (made["town"], made["folder"]) == ("bad-ort", str(tmp_path / "t"))
    assert TOKEN.fullmatch(made["admin_token"])
    assert "port = 8887" in (tmp_path / "t" / "town.toml").read_text()


def test_a_new_admin_token_takes_the_place_of_the_old_one(folder: Path, here: Here) -> None:
    first, second = token_in(here("token", folder)), json.loads(here("token", folder, "--json").stdout)["admin_token"]
    kept = meta.get(open_database(folder / "nest.db"), meta.ADMIN_TOKEN)
    assert kept == fingerprint(second)
    assert kept != fingerprint(first)
