"""A town's folder: what is made, what is read back, and what is said about a broken `town.toml`."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from nest import town
from nest.errors import UserError

pytestmark = pytest.mark.usefixtures("english")


def test_a_new_town_is_read_back(tmp_path: Path) -> None:
    made = town.create(
        tmp_path / "t", "Königs Wusterhausen", latitude=52.3, longitude=13.6, language="de", web_port=0, mqtt_port=0
    )
    assert made == town.load(tmp_path / "t")
    assert (made.name, made.slug, made.latitude, made.longitude) == (
        "Königs Wusterhausen", "koenigs-wusterhausen", 52.3, 13.6,
    )  # fmt: skip
    assert made.settings.web.port == 0
    assert made.settings.semtech_udp.port == 1700
    assert made.settings.map.tiles is False
    assert made.outlines is None
    (made.path / "outlines.geojson").write_text("{}")
    assert made.outlines == made.path / "outlines.geojson"


def test_the_database_of_a_new_town_is_its_owners_alone(tmp_path: Path) -> None:
    made = town.create(tmp_path / "t", "Stadt")
    for name in ("nest.db", "town.toml"):
        assert stat.S_IMODE((made.path / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["Ω", "!!!", "日本"])
def test_a_name_without_latin_letters_still_has_an_address(tmp_path: Path, name: str) -> None:
    assert town.create(tmp_path / "t", name).slug == "stadt"


def test_every_setting_stands_in_the_file(tmp_path: Path) -> None:
    text = (town.create(tmp_path / "t", "Stadt", latitude=1.0, longitude=2.0).path / "town.toml").read_text()
    for section, field in town.Settings.model_fields.items():
        assert f"[{section}]" in text
        for key in field.annotation.model_fields:  # type: ignore[union-attr]
            assert f"\n{key} = " in text


def test_a_second_town_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    town.create(tmp_path, "Eins")
    with pytest.raises(UserError, match="already") as refused:
        town.create(tmp_path, "Zwei")
    assert "nest run" in refused.value.next_step
    assert town.load(tmp_path).name == "Eins"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": ""}, "not empty"),
        ({"name": "x", "latitude": 91.0}, "at most 90"),
        ({"name": "x", "language": "fr"}, "one of 'de', 'en'"),
        ({"name": "x", "web_port": 70000}, "at most 65535"),
        ({"name": "x", "mqtt_url": "http://broker"}, "mqtt://host:port"),
    ],
)
def test_nothing_is_written_when_a_setting_is_wrong(tmp_path: Path, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said) as told:
        town.create(tmp_path / "t", **wrong)  # type: ignore[arg-type]
    assert "town.toml" not in str(told.value), "that file is not there"
    assert not (tmp_path / "t").exists()


def test_no_town_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no town") as refused:
        town.load(tmp_path)
    assert "nest init" in refused.value.next_step


def write(folder: Path, text: str) -> Path:
    (folder / "town.toml").write_text(text, encoding="utf-8")
    return folder


GOOD = '[town]\nname = "Stadt"\nslug = "stadt"\n'


def test_a_town_of_an_earlier_version_is_read_as_it_is(tmp_path: Path) -> None:
    """Sections and settings that came later have their usual values; nobody has to touch the file."""
    before = """
[town]
name = "Stadt"
slug = "stadt"

[semtech_udp]
host = "0.0.0.0"
port = 1700

[web]
host = "0.0.0.0"
port = 8081

[lorawan]
region = "EU868"
net_id = 0
rx1_delay_s = 1
"""
    settings = town.load(write(tmp_path, before)).settings
    assert (settings.web.port, settings.web.metrics) == (8081, True)
    assert settings.basics_station.port == 8887
    assert settings.lorawan.adr


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (GOOD + "\n[web]\nport = 8080 8081\n", 6, "not TOML"),
        (GOOD + '\n[web]\nhost = "0.0.0.0\n', 6, "not TOML"),
        (GOOD + '\n[web]\nport = "8080"\n', 6, "web.port: a whole number was expected"),
        (GOOD + "\n[web]\nport = 8080.5\n", 6, "web.port: a whole number was expected"),
        (GOOD + "\n[web]\n# the port\n  port   = 65536\n", 7, "web.port: at most 65535 was expected"),
        (GOOD + "\n[web]\nport = -1\n", 6, "web.port: at least 0 was expected"),
        (GOOD + "\n[web]\nhost = 5\n", 6, 'web.host: a text in "quotes" was expected'),
        (GOOD + '\n[map]\ntiles = "yes"\n', 6, "map.tiles: true or false was expected"),
        (GOOD + "latitude = nan\n", 4, "town.latitude"),
        (GOOD + 'language = "fr"\n', 4, "town.language: one of 'de', 'en' was expected"),
        (GOOD + "\n[mqtt]\nprot = 1\n", 6, "mqtt.prot: no such setting; known are ca_file, host, port, prefix, url"),
        (GOOD + "\n[radio]\nx = 1\n", 5, "radio: no such setting; known are basics_station, database, lorawan"),
        (GOOD + '\n[mqtt]\nurl = "broker.example"\n', 6, "mqtt.url: mqtt://host:port"),
        (GOOD + '\n[mqtt]\nurl = "mqtt://host:port"\n', 6, "mqtt.url: mqtt://host:port"),
        (GOOD + '\n[mqtt]\nprefix = "a/#"\n', 6, "mqtt.prefix: a topic"),
        (GOOD + "\n[lorawan]\nrx1_delay_s = 16\n", 6, "lorawan.rx1_delay_s: at most 15 was expected"),
        ('[town]\nname = "Stadt"\n', 1, "town.slug: is missing"),
        ('[town]\nname = "Stadt"\nslug = "Groß Stadt"\n', 3, "town.slug: lower-case letters"),
        ("# nothing\n", 1, "town: is missing"),
        ("town = 5\n", 1, "town: a section like [town] was expected"),
        ('town.name = "x"\ntown.slug = 5\n', 2, 'town.slug: a text in "quotes" was expected'),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_what_was_expected(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    with pytest.raises(UserError) as refused:
        town.load(write(tmp_path, text))
    assert refused.value.message.startswith(f"{tmp_path / 'town.toml'}, line {line}: ")
    assert said in refused.value.message
    assert "\n" not in refused.value.message
    assert refused.value.next_step


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "town.toml").write_bytes(GOOD.encode() + b"\xff\xfe")
    with pytest.raises(UserError, match="line 4: text in UTF-8"):
        town.load(tmp_path)


def test_a_brokers_password_is_not_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        town.load(write(tmp_path, GOOD + '\n[mqtt]\nurl = "mqtt://me:secret@host:99999"\n'))
    assert "secret" not in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="cannot be written"):
            town.create(tmp_path / "t", "Stadt")
    finally:
        tmp_path.chmod(0o700)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("")
    with pytest.raises(UserError):
        town.create(tmp_path / "t", "Stadt")
    with pytest.raises(UserError, match="no town"):
        town.load(tmp_path / "t")


@pytest.mark.parametrize("umask", ["000", "777", "022"])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: str) -> None:
    made = "import sys, pathlib; from nest import town; town.create(pathlib.Path(sys.argv[1]), 'Stadt')"
    folder = tmp_path / "t"
    folder.mkdir()
    shell = f'umask {umask}; exec "$0" -c "$1" "$2"'
    subprocess.run(["sh", "-c", shell, sys.executable, made, str(folder)], check=True, timeout=30)
    for name in ("nest.db", "town.toml"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
