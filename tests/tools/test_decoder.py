"""The JavaScript decoder: the same answers as the nest's own, in the language that every network server runs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import quickjs
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from nest import extras, orders, payload
from nest.errors import UserError
from nest.i18n import translate
from nest.quantities import all_quantities
from nest.resources import boards_dir
from spatz import decoder
from spatz.decoder import render_examples, render_script, uplink_output, write
from spatz.quantities import load_quantities
from typer.testing import CliRunner

VECTORS_DIR = Path(__file__).resolve().parents[1] / "vectors"
VECTORS: dict[str, list[dict[str, Any]]] = json.loads((VECTORS_DIR / "payload.json").read_text(encoding="utf-8"))
SCRIPT = (boards_dir() / "decoder.js").read_text(encoding="utf-8")
EXAMPLES: dict[str, dict[str, Any]] = yaml.safe_load(
    (boards_dir() / "decoder-examples.yaml").read_text(encoding="utf-8")
)
ROUTINES = {"uplinkDecoder": "decodeUplink", "downlinkEncoder": "encodeDownlink", "downlinkDecoder": "decodeDownlink"}


class Engine:
    """The script in QuickJS, the engine that ChirpStack has, too."""

    def __init__(self, script: str) -> None:
        self.context = quickjs.Context()
        self.context.eval(script)
        self.context.eval(
            "var ROUTINES = {decodeUplink: decodeUplink, encodeDownlink: encodeDownlink, "
            "decodeDownlink: decodeDownlink};"
            "function run(name, given) { return JSON.stringify(ROUTINES[name](JSON.parse(given))); }"
        )
        self.call = self.context.get("run")

    def run(self, name: str, given: object) -> dict[str, Any]:
        return json.loads(self.call(name, json.dumps(given)))


ENGINE = Engine(SCRIPT)


def uplink(fport: int, sent: bytes) -> dict[str, Any]:
    return ENGINE.run("decodeUplink", {"fPort": fport, "bytes": list(sent)})


def named(rows: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", rows, ids=[row["name"] for row in rows])


# -- the files in boards/


def test_the_copy_in_boards_is_fresh() -> None:
    """Stale? Run python -m spatz.decoder."""
    assert render_script() == SCRIPT
    assert (boards_dir() / "decoder-examples.yaml").read_text(encoding="utf-8") == render_examples()


def test_the_script_is_small_and_plain() -> None:
    assert len(SCRIPT.encode()) <= 20 * 1024
    assert SCRIPT.isascii()


def test_only_the_first_lines_differ_from_server_to_server() -> None:
    scripts = {server: render_script(server) for server in ("chirpstack", "tts", "ts013")}
    assert len(set(scripts.values())) == 3
    assert len({script[script.index('"use strict"') :] for script in scripts.values()}) == 1
    assert "ChirpStack v4: Device profile" in scripts["chirpstack"]
    assert "Payload formatters" in scripts["tts"]


def test_a_quantity_that_the_script_cannot_say_is_refused() -> None:
    temperature, *others = load_quantities()
    for change in ({"name": "age_s"}, {"resolution": 0.25}, {"minimum": -60.05}):
        with pytest.raises(UserError):
            render_script(quantities=[temperature.model_copy(update=change), *others])


# -- the vectors


def test_the_vectors_are_fresh_and_enough() -> None:
    """Stale? Run python tests/vectors/make_payload.py."""
    spec = importlib.util.spec_from_file_location("make_payload", VECTORS_DIR / "make_payload.py")
    assert spec
    assert spec.loader
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert (VECTORS_DIR / "payload.json").read_text(encoding="utf-8") == maker.render()
    assert len([case for case in VECTORS["cases"] if "reading" in case]) >= 200
    names = [case["name"] for group in ("cases", "refused") for case in VECTORS[group]]
    assert len(names) == len(set(names))


@named(VECTORS["cases"])
def test_a_reading_is_decoded(case: dict[str, Any]) -> None:
    output = uplink(case["fport"], bytes.fromhex(case["payload"]))
    data = output["data"]
    assert sorted(data.pop("failed", [])) == case["failed"]
    assert sorted(data.pop("out_of_range", [])) == case["out_of_range"]
    assert data.pop("age_s", None) == case.get("age_s")
    assert data == case["values"]
    lost = {f"{name}: the sensor failed" for name in case["failed"]}
    lost |= {f"{name}: out of range" for name in case["out_of_range"]}
    assert set(output.get("warnings", [])) == lost
    assert "errors" not in output


@named([case for case in VECTORS["cases"] if "rest" in case])
def test_the_nest_finds_the_same_rest(case: dict[str, Any]) -> None:
    decoded = payload.decode(case["fport"], bytes.fromhex(case["payload"]))
    assert decoded.rest.hex() == case["rest"]
    assert extras.read_rest(decoded.rest).age_s == case.get("age_s", 0)


@named(VECTORS["refused"])
def test_what_is_no_reading_is_refused(case: dict[str, Any]) -> None:
    output = uplink(case["fport"], bytes.fromhex(case["payload"]))
    assert list(output) == ["errors"]
    assert len(output["errors"]) == 1


def test_every_value_is_the_nests_own() -> None:
    """All codes by the script's arithmetic, which is IEEE 754's as Python's is; every 101st through the script."""
    table = re.findall(r'^  \[(\d+), "(\w+)", (\d+), (-?\d+), (\d+), (\d+)\]', SCRIPT, re.MULTILINE)
    assert [row[1] for row in table] == [quantity.name for quantity in all_quantities()]
    for row, quantity in zip(table, all_quantities(), strict=True):
        bits, lowest, step, scale = (int(number) for number in row[2:])
        codes = range((1 << bits) - 2)
        assert bits == quantity.bits
        assert [(lowest + code * step) / scale for code in codes] == [quantity.value(code) for code in codes]
        bitmap = payload.bitmap_of([quantity.name])
        for code in (*codes[::101], codes[-1]):
            size = (bits + 7) // 8
            sent = bitmap + (code << (8 * size - bits)).to_bytes(size, "big")
            assert uplink(1, sent) == {"data": {quantity.name: quantity.value(code)}}


# -- any bytes

any_bytes = settings(max_examples=300, deadline=None)  # the nest makes a table of values when it first meets a quantity
BITMAPS = st.sets(st.sampled_from([quantity.name for quantity in all_quantities()]), max_size=6).map(payload.bitmap_of)
U16 = st.binary(min_size=2, max_size=2)


@st.composite
def blocks(draw: st.DrawFn, bitmap: bytes) -> bytes:
    """Values behind `bitmap`; the padding is seldom wrong."""
    layout = payload.layout_of(bitmap)
    packed = draw(st.integers(0, (1 << 8 * layout.size) - 1))
    if draw(st.integers(0, 15)):
        packed &= ~layout.padding
    return packed.to_bytes(layout.size, "big")


@st.composite
def items(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from([1, 1, 1, 2, 3, 4, 4, 5, 6]))
    if kind == 4:
        bitmap, count = draw(BITMAPS), draw(st.integers(0, 3))
        head = bytes([4]) + draw(st.binary(min_size=7, max_size=7)) + bitmap + bytes([count])
        return head + b"".join((draw(U16) if index else b"") + draw(blocks(bitmap)) for index in range(count))
    size = {1: 2, 2: 2, 3: 1, 5: 4, 6: 1}[kind]
    return bytes([kind]) + draw(st.binary(min_size=size, max_size=size))


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A reading, extras behind it, more or less whole."""
    bitmap = draw(BITMAPS)
    behind = b"".join(draw(st.lists(items(), max_size=4)))
    length = draw(st.one_of(st.just(len(behind)), st.integers(0, 255))) & 0xFF
    header = draw(st.integers(0, 255)) | (0x40 if draw(st.integers(0, 3)) else 0)
    frame = (
        bitmap + draw(blocks(bitmap)) + bytes([header & (0x7F if draw(st.integers(0, 7)) else 0xFF), length]) + behind
    )
    frame += draw(st.binary(max_size=6))
    return frame[: draw(st.one_of(st.just(len(frame)), st.integers(0, len(frame))))]


def same_as_the_nest(fport: int, sent: bytes) -> None:
    mine, nests = uplink(fport, sent), uplink_output(fport, sent)
    if "errors" in nests:
        assert list(mine) == ["errors"]
    else:
        assert mine == nests


@any_bytes
@given(st.sampled_from([1, 1, 1, 0, 2, 223]), st.binary(max_size=242))
def test_any_bytes_mean_the_same_to_the_nest(fport: int, sent: bytes) -> None:
    same_as_the_nest(fport, sent)


@any_bytes
@given(frames())
def test_any_frame_means_the_same_to_the_nest(sent: bytes) -> None:
    same_as_the_nest(1, sent)


NUMBERS = st.integers(-2, 70000) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["bytes", "fPort", "data", "length", "ticket", "interval_s", "parity", "confirmed", "log", "restart", "session",
         "fcnt", "count", "toString", "__proto__", "constructor"]), inner, max_size=6),
    max_leaves=12,
)  # fmt: skip


@any_bytes
@given(st.sampled_from(sorted(ROUTINES.values())), JSON)
def test_nothing_throws_whatever_a_server_hands_over(routine: str, given_: object) -> None:
    output = ENGINE.run(routine, given_)
    assert "errors" in output or "data" in output or "bytes" in output


@pytest.mark.parametrize("fport", [None, "1", [1], {"toString": 1, "valueOf": 1}], ids=str)
def test_an_fport_that_is_no_number(fport: object) -> None:
    for routine in ("decodeUplink", "decodeDownlink"):
        assert list(ENGINE.run(routine, {"fPort": fport, "bytes": [0]})) == ["errors"]


@pytest.mark.parametrize("sent", [[1, 75, 256], [1, 75, -1], [1, 75, 0.5], [1, 75, "0"], [1, 75, None], "014b00", None])
def test_bytes_that_are_none(sent: object) -> None:
    assert list(ENGINE.run("decodeUplink", {"fPort": 1, "bytes": sent})) == ["errors"]
    assert list(ENGINE.run("decodeDownlink", {"fPort": 2, "bytes": sent})) == ["errors"]


# -- settings

RANGE = st.fixed_dictionaries(
    {"session": st.integers(0, 255), "fcnt": st.integers(0, 65535), "count": st.integers(1, 255)}
)
SETTINGS = st.fixed_dictionaries(
    {"ticket": st.integers(1, 255)},
    optional={
        "interval_s": st.integers(5, 65535),
        "parity": st.integers(0, 4),
        "confirmed": st.booleans(),
        "log": st.lists(RANGE, max_size=orders.MOST_RANGES),
        "restart": st.just(True),
    },
).filter(lambda wanted: len(wanted) > 1)


@any_bytes
@given(SETTINGS)
def test_settings_come_back_as_they_were(wanted: dict[str, Any]) -> None:
    output = ENGINE.run("encodeDownlink", {"data": wanted, "fPort": 7})
    assert output["fPort"] == 2
    assert "warnings" not in output
    assert ENGINE.run("decodeDownlink", {"fPort": 2, "bytes": output["bytes"]}) == {"data": wanted}


COMMANDS = {
    "interval_s": orders.Interval,
    "parity": orders.Parity,
    "confirmed": orders.Confirmed,
    "log": lambda ranges: orders.Log(tuple(orders.Range(one["session"], one["fcnt"], one["count"]) for one in ranges)),
    "restart": lambda _: orders.Restart(),
}


@any_bytes
@given(SETTINGS)
def test_settings_are_the_bytes_that_the_nest_would_send(wanted: dict[str, Any]) -> None:
    commands = [COMMANDS[name](wanted[name]) for name in COMMANDS if name in wanted]
    output = ENGINE.run("encodeDownlink", {"data": wanted})
    assert bytes(output["bytes"]) == orders.encode(wanted["ticket"], commands)


@any_bytes
@given(st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 255]), max_size=24).map(bytes))
def test_a_downlink_is_refused_where_the_nest_would_leave_a_rest(sent: bytes) -> None:
    nests = orders.decode(sent)
    refused = "errors" in ENGINE.run("decodeDownlink", {"fPort": 2, "bytes": list(sent)})
    assert refused == (not nests.ticket or bool(nests.rest))


def test_more_ranges_than_a_node_takes_are_refused_as_by_the_nest() -> None:
    for count in (orders.MOST_RANGES, orders.MOST_RANGES + 1):
        sent = bytes([1, 4, count]) + bytes([1, 0, 2, 3]) * count
        refused = "errors" in ENGINE.run("decodeDownlink", {"fPort": 2, "bytes": list(sent)})
        assert refused == bool(orders.decode(sent).rest) == (count > orders.MOST_RANGES)


@any_bytes
@given(st.binary(max_size=60))
def test_any_downlink_is_refused_or_can_be_sent_again(sent: bytes) -> None:
    output = ENGINE.run("decodeDownlink", {"fPort": 2, "bytes": list(sent)})
    if "errors" not in output and len(sent) > 1:
        again = ENGINE.run("encodeDownlink", {"data": output["data"]})
        assert ENGINE.run("decodeDownlink", again)["data"] == output["data"]


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"interval_s": 900}, "ticket must be"),
        ({"ticket": 0, "parity": 1}, "ticket must be"),
        ({"ticket": 1}, "there is no setting in it"),
        ({"ticket": 1, "restart": False}, "there is no setting in it"),
        ({"ticket": 1, "interval_s": 4}, "from 5 to 65535"),
        ({"ticket": 1, "interval_s": 65536}, "from 5 to 65535"),
        ({"ticket": 1, "interval_s": 900.5}, "from 5 to 65535"),
        ({"ticket": 1, "interval_s": "900"}, "from 5 to 65535"),
        ({"ticket": 1, "parity": 5}, "from 0 to 4"),
        ({"ticket": 1, "confirmed": 1}, "confirmed must be"),
        ({"ticket": 1, "restart": "yes"}, "restart must be"),
        ({"ticket": 1, "log": 7}, "log must be"),
        ({"ticket": 1, "log": [{"session": 1, "fcnt": 2, "count": 0}]}, "log range 1 must have"),
        ({"ticket": 1, "log": [{"session": 1, "fcnt": 2, "count": 3}] * 11}, "at most 10 ranges"),
        ({"ticket": 1, "log": [None]}, "log range 1 must have"),
        ({"ticket": 1, "parity": 1, "toString": 1}, "toString is not a setting"),
        ({"ticket": 1, "interval": 900}, "interval is not a setting"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_impossible_setting_is_refused(wanted: dict[str, Any], error: str) -> None:
    output = ENGINE.run("encodeDownlink", {"data": wanted})
    assert list(output) == ["errors"]
    assert error in output["errors"][0]


@pytest.mark.parametrize(
    "sent",
    ["", "00", "0001003c", "0101", "010100", "01010004", "010205", "010302", "0103", "0104", "010401010000",
     "01040101000000", "0106", "0105ff"],
)  # fmt: skip
def test_a_downlink_that_no_node_would_follow_is_refused(sent: str) -> None:
    output = ENGINE.run("decodeDownlink", {"fPort": 2, "bytes": list(bytes.fromhex(sent))})
    assert list(output) == ["errors"]


def test_a_setting_that_stands_there_twice() -> None:
    output = ENGINE.run("decodeDownlink", {"fPort": 2, "bytes": list(bytes.fromhex("0702010203"))})
    assert output == {
        "data": {"ticket": 7, "parity": 3},
        "warnings": ["parity stands there twice; the later one counts"],
    }


# -- the examples


@pytest.mark.parametrize(
    ("coder", "example"),
    [(coder, example) for coder, part in EXAMPLES.items() for example in part["examples"]],
    ids=lambda value: value if isinstance(value, str) else value["description"],
)
def test_an_example_gives_exactly_its_output(coder: str, example: dict[str, Any]) -> None:
    """As the device repository's bin/validate.js compares: all of the output, and nothing besides."""
    assert set(example) == {"description", "input", "output"}
    assert ENGINE.run(ROUTINES[coder], example["input"]) == example["output"]


def test_the_examples_are_what_the_device_repository_takes() -> None:
    """Its schema.json: names of files, at least one byte, fPorts from 1."""
    assert list(EXAMPLES) == list(ROUTINES)
    for coder, part in EXAMPLES.items():
        assert part["fileName"] == "decoder.js"
        for example in part["examples"]:
            framed = example["input"] if coder != "downlinkEncoder" else example["output"]
            if "errors" not in framed:
                assert 1 <= len(framed["bytes"]) <= 256
                assert 1 <= framed["fPort"] <= 255
            assert "'" not in json.dumps(example["input"]), "validate.js hands it over in a shell's quotes"


# -- the servers' own scripts around ours


def test_within_chirpstacks_script() -> None:
    """chirpstack/src/codec/js/mod.rs: ours, then the call, all in one sloppy script."""
    context = quickjs.Context()
    context.eval("var chirpstack_input = {bytes: [1, 75, 0], fPort: 1, recvTime: new Date(0), variables: {}};")
    result = context.eval(f"\n        {SCRIPT}\n\n        decodeUplink(chirpstack_input)\n        ")
    assert json.loads(result.json()) == {"data": {"temperature": 0}}


def test_within_the_things_stacks_script() -> None:
    """pkg/messageprocessors/javascript/javascript.go: ours, then a function main."""
    context = quickjs.Context()
    context.eval(
        f"\n\t\t{SCRIPT}\n\n\t\tfunction main(input) {{ const bytes = input.bytes.slice(); const {{ fPort }} = input;"
        "if (typeof decodeUplink === 'function') { const decoded = decodeUplink({ bytes, fPort });"
        "return JSON.stringify({ decoded }); } }"
    )
    assert json.loads(context.eval("main({bytes: [1, 75, 0], fPort: 1})")) == {"decoded": {"data": {"temperature": 0}}}


# -- the command


def run_spatz(*arguments: str) -> Any:
    from spatz.cli import app

    return CliRunner().invoke(app, ["decoder", *arguments])


def test_the_command_prints_or_writes(tmp_path: Path) -> None:
    assert run_spatz().stdout == SCRIPT
    assert run_spatz("--for", "tts").stdout == render_script("tts")
    assert yaml.safe_load(run_spatz("--examples").stdout) == EXAMPLES
    written = run_spatz("--for", "chirpstack", "--output", str(tmp_path / "decoder.js"))
    assert (written.exit_code, written.stdout) == (0, "")
    assert (tmp_path / "decoder.js").read_text(encoding="utf-8") == render_script("chirpstack")
    assert run_spatz("--for", "pigeons").exit_code == 2


@pytest.mark.parametrize("language", ["en", "de"])
def test_help_shows_options_and_examples(language: str) -> None:
    """In a process of its own: what --help says is translated when the command line is loaded."""
    ended = subprocess.run(
        [sys.executable, "-c", "from spatz.cli import main; main()", "decoder", "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "LANGUAGE": language, "COLUMNS": "100"},
    )  # fmt: skip
    words = (translate("Examples:", language), translate("Write to this file instead of the screen.", language))
    for word in ("--for", "--examples", "--output", "spatz decoder --for tts", *words):
        assert word in ended.stdout


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        write("", tmp_path / "missing" / "decoder.js")


def test_the_table_of_servers_and_the_command_agree() -> None:
    from spatz.cli import Server

    assert {server.value for server in Server} == set(decoder._WHERE)
