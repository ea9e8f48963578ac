"""The register of gateways: who is let in, and what is never given out."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from nest.archive import open_database
from nest.errors import UserError
from nest.gateways import GatewayRegistry, note, noted
from nest.model import GatewayInfo
from nest.moments import now_ms
from nest.tokens import fingerprint, new_token
from sqlalchemy import Engine, text

EUI = "0016c001f1500812"


pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_database(tmp_path / "nest.db")


@pytest.fixture
def gateways(engine: Engine) -> GatewayRegistry:
    return GatewayRegistry(engine)


def test_a_gateway_is_kept_as_it_was_given(gateways: GatewayRegistry) -> None:
    kept = fingerprint(new_token())
    added = gateways.add(
        EUI, "Rathaus", latitude=51.3, longitude=12.6, altitude_m=140.0, antenna_gain_dbi=5.0, token=kept
    )
    assert added == GatewayInfo(EUI, "Rathaus", 51.3, 12.6, 140.0, 5.0, kept)
    assert gateways.get(EUI) == added
    assert gateways.list() == [added]


@pytest.mark.parametrize(
    "spelling", ["0016C001F1500812", "00-16-c0-01-f1-50-08-12", "00:16:C0:01:F1:50:08:12", bytes.fromhex(EUI)]
)
def test_an_eui_may_be_spelt_as_it_is_printed(gateways: GatewayRegistry, spelling: str | bytes) -> None:
    assert gateways.add(spelling) == GatewayInfo(EUI, EUI)
    found = gateways.get(spelling)
    assert found
    gateways.remove(spelling)
    assert gateways.get(EUI) is None


def test_adding_it_twice_names_the_next_step(gateways: GatewayRegistry) -> None:
    gateways.add(EUI, "Rathaus")
    with pytest.raises(UserError, match="Rathaus") as refused:
        gateways.add(EUI, "Schule")
    assert f"nest gateways remove FOLDER {EUI}" in refused.value.next_step
    assert [gateway.name for gateway in gateways.list()] == ["Rathaus"]


def test_a_removed_one_loses_its_token_and_comes_back(engine: Engine, gateways: GatewayRegistry) -> None:
    gateways.add(EUI, token=fingerprint("secret"))
    gateways.remove(EUI)
    with engine.connect() as connection:
        assert connection.execute(text("select token from gateways")).scalar_one() is None
    with pytest.raises(UserError, match=EUI):
        gateways.remove(EUI)
    with pytest.raises(UserError, match=EUI):
        gateways.set_token(EUI, fingerprint("other"))
    assert gateways.add(EUI, "Rathaus").token is None
    gateways.set_token(EUI, fingerprint("other"))
    found = gateways.get(EUI)
    assert found
    assert found.token == fingerprint("other")


def test_only_a_token_s_fingerprint_is_kept(tmp_path: Path, gateways: GatewayRegistry) -> None:
    token = new_token()
    with pytest.raises(ValueError, match="SHA-256") as refused:
        gateways.add(EUI, token=token)
    assert token not in str(refused.value)
    gateways.add(EUI, token=fingerprint(token))
    with sqlite3.connect(tmp_path / "nest.db") as connection:
        dump = "\n".join(connection.iterdump())
    assert fingerprint(token) in dump
    assert token not in dump
    assert fingerprint(token) not in repr(gateways.list())


@pytest.mark.parametrize("eui", ["", "0016", EUI + "00", "0016c001f150081g", "0016c001f150081\n", "\udcff" * 16])
def test_an_eui_that_is_none_is_refused(gateways: GatewayRegistry, eui: str) -> None:
    with pytest.raises(UserError, match="16"):
        gateways.add(eui)


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "\udcff", "\x1b[31m", "\u202eleman", "a" * 81])
def test_a_name_that_cannot_be_shown_is_refused(gateways: GatewayRegistry, name: str) -> None:
    with pytest.raises(UserError) as refused:
        gateways.add(EUI, name)
    assert str(refused.value).isascii()


@pytest.mark.parametrize(
    "place",
    [
        {"latitude": 51.3},
        {"longitude": 12.6},
        {"latitude": 91.0, "longitude": 0.0},
        {"latitude": 0.0, "longitude": float("nan")},
        {"altitude_m": float("inf")},
        {"antenna_gain_dbi": 300.0},
    ],
)
def test_a_place_that_is_none_is_refused(gateways: GatewayRegistry, place: dict[str, float]) -> None:
    with pytest.raises(UserError):
        gateways.add(EUI, **place)  # type: ignore[arg-type]
    assert gateways.list() == []


def test_what_changed_is_found_and_what_was_removed(gateways: GatewayRegistry) -> None:
    added = gateways.add(EUI)
    assert gateways.changed_since(0) == ([added], [])
    assert gateways.changed_since(now_ms() + 1000) == ([], [])
    gateways.remove(EUI)
    assert gateways.changed_since(0) == ([], [EUI])


def test_what_a_gateway_told_is_noted_and_is_no_change_of_it(engine: Engine, gateways: GatewayRegistry) -> None:
    gateways.add(EUI)
    after = now_ms() + 1
    told = {"eui": EUI, "protocol": "semtech_udp", "last_seen": 1000.25, "stat": {"rxok": 2}}
    with engine.begin() as connection:
        note(connection, [told, {**told, "eui": "ff" * 8}])
        assert noted(connection) == {EUI: {"protocol": "semtech_udp", "last_seen": 1000.25, "stat": {"rxok": 2}}}
    assert gateways.changed_since(after) == ([], [])


def test_what_was_noted_stays_until_the_gateway_tells_otherwise(engine: Engine, gateways: GatewayRegistry) -> None:
    gateways.add(EUI)
    told = {"eui": EUI, "protocol": "semtech_udp", "last_seen": 1000.25, "stat": {"rxok": 2}}
    with engine.begin() as connection:
        note(connection, [told])
        note(connection, [{**told, "protocol": None, "last_seen": None, "stat": None}])
        assert noted(connection)[EUI]["last_seen"] == 1000.25
        note(connection, [{**told, "protocol": "basics_station", "last_seen": 2000.0, "stat": None}])
        assert noted(connection) == {EUI: {"protocol": "basics_station", "last_seen": 2000.0, "stat": {"rxok": 2}}}
