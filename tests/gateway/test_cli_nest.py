"""`nest …`: what it prints, and that each kind of bad input is one sentence, a next step and exit status 2."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from nest import town
from nest.archive import Archive, open_database
from nest.archive.downlinks import DownlinkQueue
from nest.publish.login import Broker
from nest.registry import Registry
from sqlalchemy.exc import OperationalError

from .commands import Done, Here, check_said
from .running import free_port, nest_command

EUI = "70b3d57ed0000001"


def test_init_makes_a_town_and_says_what_comes_next(tmp_path: Path) -> None:
    done = nest_command("init", tmp_path / "t", "--name", "Bad Düben", "--latitude", 51.6, "--longitude", 12.6)
    assert done.returncode == 0
    assert f"nest run {tmp_path / 't'}" in done.stdout
    assert 'slug = "bad-dueben"' in (tmp_path / "t" / "town.toml").read_text()
    assert stat.S_IMODE((tmp_path / "t" / "nest.db").stat().st_mode) == 0o600


def test_nodes_are_added_listed_and_removed(folder: Path, here: Here) -> None:
    added = here("nodes", "add", str(folder), "amsel", "--dev-eui", EUI, "--latitude", "51.3", "--longitude", "12.6")
    assert added.status == 0, added.stderr
    assert EUI in added.stdout
    listed = json.loads(here("nodes", "list", str(folder), "--json").stdout)
    assert [(node["slug"], node["dev_eui"], node["latitude"]) for node in listed] == [("amsel", EUI, 51.3)]
    assert EUI in here("nodes", "list", str(folder)).stdout
    assert here("nodes", "remove", str(folder), "amsel").status == 0
    assert json.loads(here("nodes", "list", str(folder), "--json").stdout) == []


@pytest.mark.parametrize(("battery", "shown"), [(0, "external supply"), (1, "0 %"), (254, "100 %"), (128, "50 %")])
def test_what_a_node_told_of_its_battery_is_listed(folder: Path, here: Here, battery: int, shown: str) -> None:
    here("nodes", "add", folder, "amsel", "--dev-eui", EUI)
    (listed,) = json.loads(here("nodes", "list", folder, "--json").stdout)
    assert (listed["battery"], listed["margin_db"], listed["status_at"]) == (None, None, None)
    with contextlib.closing(sqlite3.connect(folder / "nest.db", isolation_level=None)) as connection:
        connection.execute("update nodes set battery = ?, margin_db = -3, status_at = 1000000", (battery,))
    (listed,) = json.loads(here("nodes", "list", folder, "--json").stdout)
    assert (listed["battery"], listed["margin_db"], listed["status_at"]) == (battery, -3, 1000.0)
    assert f" {shown} " in here("nodes", "list", folder).stdout


def test_names_are_printed_as_they_are(folder: Path, here: Here) -> None:
    name = "Ä [/x] :snake:"
    here("nodes", "add", str(folder), "amsel", "--dev-eui", EUI, "--name", name)
    listed = here("nodes", "list", str(folder))
    assert listed.status == 0
    assert name in listed.stdout


def test_a_node_that_was_here_keeps_its_join_eui_and_a_new_one_gets_the_towns(here: Here, folder: Path) -> None:
    line = ("nodes", "add", str(folder), "amsel", "--dev-eui", EUI, "--json")
    ours = town.load(folder).join_eui.hex()
    assert json.loads(here(*line).stdout)["join_eui"] == ours
    for said, expected in (("70b3d57ed0000000", "70b3d57ed0000000"), (None, "70b3d57ed0000000"), ("0" * 16, "0" * 16)):
        here("nodes", "remove", str(folder), "amsel")
        options = () if said is None else ("--join-eui", said)
        assert json.loads(here(*line, *options).stdout)["join_eui"] == expected


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_the_password_of_a_broker_needs_no_command_line(tmp_path: Path, way: str) -> None:
    password = "p@ss: wörd/%"
    (tmp_path / "password").write_text(password + "\n", encoding="utf-8")
    source = {"file": str(tmp_path / "password"), "stdin": "-"}[way]
    folder = tmp_path / "town"
    done = nest_command(
        "init", folder, "--name", "Brandis", "--mqtt-url", "mqtts://nest@broker.example:8883",
        "--mqtt-password-file", source, stdin=password + "\n" if way == "stdin" else None,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "wörd" not in done.stdout + done.stderr
    broker = Broker.from_url(town.load(folder).settings.mqtt.url)
    assert (broker.host, broker.port, broker.username, broker.password) == (
        "broker.example", 8883, "nest", password,
    )  # fmt: skip
    assert stat.S_IMODE((folder / town.SETTINGS_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("url", ["", "mqtt://broker", "mqtt://u:secret@broker", "broker"])
def test_a_password_without_a_user_is_refused(here: Here, tmp_path: Path, url: str) -> None:
    (tmp_path / "password").write_text("hunter2")
    done = here(
        "init", tmp_path / "town", "--name", "Brandis", "--mqtt-url", url,
        "--mqtt-password-file", tmp_path / "password",
    )  # fmt: skip
    assert done.status == 2
    assert "mqtt://user@host:port" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert not (tmp_path / "town").exists()


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_an_app_key_is_read_and_never_shown(folder: Path, tmp_path: Path, way: str) -> None:
    key = "00112233445566778899AABBCCDDEEFF"
    (tmp_path / "key.txt").write_text(key + "\n")
    source = {"file": str(tmp_path / "key.txt"), "stdin": "-"}[way]
    done = nest_command(
        "nodes", "add", folder, "amsel", "--dev-eui", EUI, "--app-key-file", source, "--json",
        stdin=key if way == "stdin" else None,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"slug": "amsel", "dev_eui": EUI, "join_eui": town.load(folder).join_eui.hex()}
    device = Registry(open_database(folder / "nest.db")).device(bytes.fromhex(EUI))
    assert device
    assert device.app_key.hex() == key.lower()


def test_a_key_is_no_command_line_argument(folder: Path, here: Here) -> None:
    done = here("nodes", "add", str(folder), "amsel", "--dev-eui", EUI, "--app-key", "00" * 16)
    assert done.status == 2
    assert "--app-key-file" in here("nodes", "add", "--help").stdout


def test_a_downlink_is_queued(folder: Path, here: Here) -> None:
    here("nodes", "add", str(folder), "amsel", "--dev-eui", EUI)
    done = here("send", str(folder), "amsel", "--port", "10", "--hex", "01ff", "--confirmed", "--window", "2")
    assert done.status == 0, done.stderr
    (queued,) = DownlinkQueue(open_database(folder / "nest.db")).waiting()
    assert (queued.port, queued.payload, queued.confirmed, queued.window) == (10, b"\x01\xff", True, 2)


def test_a_town_in_order_is_said_to_be(folder: Path, here: Here) -> None:
    assert here("check", str(folder)).stdout == f"{folder} is in order.\n"
    assert json.loads(here("check", str(folder), "--json").stdout) == {"ok": True, "town": "brandis"}


@pytest.mark.parametrize(("language", "sentence"), [("en", "Only 3 MB are free"), ("de", "Nur 3 MB sind frei")])
def test_check_and_status_say_that_the_disk_is_nearly_full(
    folder: Path, here: Here, monkeypatch: pytest.MonkeyPatch, language: str, sentence: str
) -> None:
    """On a full disk the running nest cannot write down its own trouble."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3_900_000))
    check_said(here("check", folder, language=language), sentence)
    assert sentence in here("status", folder, language=language).stdout
    assert json.loads(here("status", folder, "--json").stdout)["disk_free_bytes"] == 3_900_000


def test_check_looks_at_the_certificate_for_stations(folder: Path, here: Here) -> None:
    set_in(folder, 'certificate = ""', 'certificate = "cert.pem"')
    check_said(here("check", folder), "only one of certificate and key")
    set_in(folder, 'key = ""', 'key = "key.pem"')
    check_said(here("check", folder), "cert.pem cannot be read")


def test_check_trusts_the_authority_that_the_settings_name(
    folder: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Broker] = []

    async def look(broker: Broker) -> None:
        asked.append(broker)

    monkeypatch.setattr("nest.publish.mqtt.check_broker", look)
    set_in(folder, '\nurl = ""', '\nurl = "mqtts://nest:secret@broker.example"')
    assert here("check", folder).status == 0
    set_in(folder, 'ca_file = ""', 'ca_file = "ca.pem"')
    assert here("check", folder).status == 0
    assert [broker.ca_file for broker in asked] == [None, folder / "ca.pem"]


def set_in(folder: Path, before: str, after: str) -> None:
    file = folder / "town.toml"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))


def test_status_works_before_the_first_run(folder: Path) -> None:
    status = json.loads(nest_command("status", folder, "--json").stdout)
    assert (status["running"], status["nodes"], status["archive"]["frames"]) == (False, 0, 0)
    assert nest_command("status", folder).returncode == 0


COMMANDS = [
    "init", "run", "check", "status", "send", "token", "backup", "systemd",
    "nodes add", "nodes list", "nodes remove", "gateways add", "gateways list", "gateways remove", "gateways token",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(here: Here, command: str) -> None:
    done = here(*command.split(), "--help")
    assert done.status == 0
    assert f"nest {command} ./" in done.stdout


@pytest.mark.parametrize(("language", "words"), [("en", "Examples:"), ("de", "Beispiele:")])
def test_help_speaks_the_user_s_language(language: str, words: str) -> None:
    assert words in nest_command("init", "--help", language=language).stdout


def test_version() -> None:
    assert nest_command("--version").stdout.startswith("funkspatz ")


# Bad input: (what is done to a good town, the command, what is said in English, in German)


def no_town(folder: Path) -> None:
    (folder / "town.toml").unlink()


def broken_toml(folder: Path) -> None:
    (folder / "town.toml").write_text('[town]\nname = "Brandis\n')


def wrong_setting(folder: Path) -> None:
    text = (folder / "town.toml").read_text()
    (folder / "town.toml").write_text(text.replace("port = 0", 'port = "many"', 1))


def bad_broker_url(folder: Path) -> None:
    text = (folder / "town.toml").read_text()
    (folder / "town.toml").write_text(text.replace('\nurl = ""', '\nurl = "broker"', 1))


def broker_away(folder: Path) -> None:
    text = (folder / "town.toml").read_text()
    (folder / "town.toml").write_text(text.replace('\nurl = ""', f'\nurl = "mqtt://127.0.0.1:{free_port()}"', 1))


def no_database(folder: Path) -> None:
    (folder / "nest.db").write_bytes(b"this is a letter, not a database" * 200)


def torn_pages(folder: Path) -> None:
    content = bytearray((folder / "nest.db").read_bytes())
    content[4096 * 2 :] = b"\xa5" * (len(content) - 4096 * 2)
    (folder / "nest.db").write_bytes(content)


def foreign_database(folder: Path) -> None:
    (folder / "nest.db").unlink()
    with sqlite3.connect(folder / "nest.db") as other:
        other.execute("create table recipes (title text)")
    other.close()


def nothing(folder: Path) -> None:
    pass


Case = tuple[Callable[[Path], None], tuple[str, ...], str, str]
RUN, CHECK, LIST = ("run", "{folder}"), ("check", "{folder}"), ("nodes", "list", "{folder}")
ADD = ("nodes", "add", "{folder}", "amsel", "--dev-eui")
BAD: dict[str, Case] = {
    "no town": (no_town, RUN, "There is no town in", "ist keine Stadt"),
    "not TOML": (broken_toml, RUN, "line 2: this is not TOML", "Zeile 2: das ist kein TOML"),
    "wrong setting": (wrong_setting, RUN, "a whole number was expected", "erwartet wird eine ganze Zahl"),
    "bad broker address": (bad_broker_url, RUN, "mqtt://host:port", "mqtt://host:port"),
    "broker away": (broker_away, CHECK, "is away", "ist nicht da"),
    "torn pages, checked before": (torn_pages, CHECK, "is damaged", "ist beschädigt"),
    "no database": (no_database, RUN, "is damaged", "ist beschädigt"),
    "no database, other command": (no_database, LIST, "is damaged", "ist beschädigt"),
    "torn pages": (torn_pages, RUN, "is damaged", "ist beschädigt"),
    "foreign database": (foreign_database, RUN, "belongs to another program", "gehört zu einem anderen Programm"),
    "town again": (nothing, ("init", "{folder}", "--name", "x"), "a town already", "schon eine Stadt"),
    "bad DevEUI": (nothing, (*ADD, "70b3"), "16 hex digits", "16 Hex-Ziffern"),
    "bad node name": (nothing, ("nodes", "add", "{folder}", "Ä", "--dev-eui", EUI), "a node's name", "kein Name"),
    "name that is no text": (nothing, (*ADD, EUI, "--name", "M\udcff"), "cannot be shown", "nicht als Name"),
    "half a position": (nothing, (*ADD, EUI, "--latitude", "51.3"), "two numbers", "zwei Zahlen"),
    "missing key file": (nothing, (*ADD, EUI, "--app-key-file", "/nowhere"), "cannot be read", "nicht lesen"),
    "bad key file": (nothing, (*ADD, EUI, "--app-key-file", "{folder}/town.toml"), "holds no AppKey", "keinen AppKey"),
    "unknown node": (nothing, ("nodes", "remove", "{folder}", "uhu"), "no node uhu", "keinen Spatz uhu"),
    "downlink to nobody": (nothing, ("send", "{folder}", "uhu", "--hex", "01"), "no node uhu", "keinen Spatz uhu"),
    "no hex": (nothing, ("send", "{folder}", "uhu", "--hex", "xyz"), "is not hexadecimal", "nicht hexadezimal"),
}


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_a_next_step(folder: Path, here: Here, name: str, language: str) -> None:
    spoil, command, english, german = BAD[name]
    spoil(folder)
    done = here(*(part.replace("{folder}", str(folder)) for part in command), language=language)
    check_said(done, {"en": english, "de": german}[language])


@pytest.mark.parametrize(("language", "sentence"), [("en", "line 2: this is not TOML"), ("de", "Zeile 2")])
def test_the_installed_command_says_it_too(folder: Path, language: str, sentence: str) -> None:
    broken_toml(folder)
    done = nest_command("run", folder, language=language)
    check_said(Done(done.returncode, done.stdout, done.stderr), sentence)


@pytest.mark.parametrize("broken", ["decode_waiting", "sessions"])
def test_a_database_that_refuses_at_the_start_is_named(
    folder: Path, here: Here, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OperationalError("insert", {}, Exception("database or disk is full"))

    monkeypatch.setattr(Archive, broken, full)
    check_said(here("run", str(folder)), f"The disk of the database {folder / 'nest.db'} is full.")


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("part", ["semtech_udp", "web", "mqtt"])
def test_an_occupied_port_is_named(folder: Path, here: Here, part: str, language: str) -> None:
    kind = socket.SOCK_DGRAM if part == "semtech_udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as occupied:
        occupied.bind(("0.0.0.0", 0))
        if part != "semtech_udp":
            occupied.listen()
        port = occupied.getsockname()[1]
        head, tail = (folder / "town.toml").read_text().split(f"[{part}]")
        (folder / "town.toml").write_text(head + f"[{part}]" + tail.replace("port = 0", f"port = {port}", 1))
        done = here("run", str(folder), language=language)
    check_said(done, {"en": f"Port {port} is already in use", "de": f"Port {port} ist schon belegt"}[language])
    assert f"[{part}]" in done.stderr
