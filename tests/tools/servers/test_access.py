"""Addresses and keys of servers, and what is said of errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from nest.errors import UserError
from spatz.servers.access import LONGEST_SAID, access, clean, not_encrypted, read_key

pytestmark = pytest.mark.usefixtures("english")


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("http://192.168.1.20", "192.168.1.20", 8080, False),
        ("http://nest.local:80/", "nest.local", 80, False),
        ("https://lora.example", "lora.example", 443, True),
        ("https://[::1]:8443", "::1", 8443, True),
    ],
)
def test_an_address_as_in_the_browser(url: str, host: str, port: int, tls: bool) -> None:
    at = access(url, "key", port=8080)
    assert (at.host, at.port, at.tls) == (host, port, tls)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "host:8080",
        "ftp://host",
        "http://",
        "http://host:99999",
        "http://host/path",
        "http://host?x",
        "http://[",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UserError, match="no address") as refused:
        access(url, "key")
    assert "https://host" in refused.value.next_step


def test_a_password_in_an_address_is_neither_taken_nor_repeated() -> None:
    with pytest.raises(UserError) as refused:
        access("https://me:hunter2@host", "key")
    assert "hunter2" not in str(refused.value)


def test_a_key_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("  abc.def\n")
    monkeypatch.setenv("SOME_KEY", "of.the.environment\n")
    assert read_key(file, "SOME_KEY") == "abc.def"
    assert read_key(None, "SOME_KEY") == "of.the.environment"
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(UserError, match="wants a key") as refused:
        read_key(None, "SOME_KEY")
    assert "SOME_KEY" in refused.value.next_step
    with pytest.raises(UserError, match="cannot be read"):
        read_key(tmp_path / "nowhere", "SOME_KEY")


@pytest.mark.parametrize("text", ["", "two words", "zwei\nZeilen", "schlüssel", "a\x00b"])
def test_what_is_no_key_is_not_repeated(tmp_path: Path, text: str) -> None:
    file = tmp_path / "file"
    file.write_text(text)
    with pytest.raises(UserError, match="holds no key") as refused:
        read_key(file, "SOME_KEY")
    assert not text or text not in str(refused.value).replace(str(file), "")


def test_what_a_server_says_is_short_and_without_keys() -> None:
    said = "no: DEADBEEF,\n deadbeef and deadBEEF " + "x" * 1000
    told = clean(said, ["deadbeef", ""])
    assert "deadbeef" not in told.lower()
    assert told.startswith("no: …, … and … x")
    assert len(told) == LONGEST_SAID + 1


def test_what_a_server_says_moves_no_terminal_and_hides_keys_behind_long_letters() -> None:
    assert "\x1b" not in clean("no \x1b[2J \x9b2J", [])
    assert clean("İİİİ deadbeef!", ["DEADBEEF"]) == "İİİİ …!"  # "İ" has two letters when it is small


def test_a_certificate_must_be_one(tmp_path: Path, tls: tuple[bytes, bytes]) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes("Prüfstelle\n".encode() + tls[1])
    assert tls[1] in (access("https://host", "key", file).ca or b"")
    for no_certificate in (b"", b"no certificate", b"\x30\x82\x00\xff", tls[0], "ü".encode(), tls[1][:200]):
        file.write_bytes(no_certificate)
        with pytest.raises(UserError, match="holds no certificate"):
            access("https://host", "key", file)


def test_whoever_sends_keys_in_clear_is_warned() -> None:
    assert not_encrypted(access("https://host", "key")) is None
    for here in ("http://127.0.0.1:80", "http://localhost", "http://[::1]"):
        assert not_encrypted(access(here, "key")) is None
    assert "not encrypted" in str(not_encrypted(access("http://192.168.1.20", "key")))
