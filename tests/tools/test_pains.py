"""The fourteen pains of people who flash boards (users.md 1.4), each on its fake.

Each ends in one message that names the next thing to do, with at most 25 words in either language, or is not felt at
all because the program helps itself; and never in a traceback. The commands are the real ones, in processes of their
own, with the real esptool and mpremote, against virtual boards. A command is ended as soon as it has said what it has
to say: then it waits for somebody to do it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nest import town
from nest.archive import open_database
from nest.i18n import translate
from nest.registry import Registry
from spatz.sim.board.bench import VirtualBoard
from spatz.sim.board.made_image import made_image
from spatz.troubles import TROUBLES
from tools.attached.flashed import JOIN_EUI, board_with, good_files

SPATZ = [sys.executable, "-c", "from spatz.cli import main; main()"]
LONG_S = 60.0
MOST_WORDS = 25


@dataclass
class Felt:
    """What somebody with that pain sees on the screen."""

    said: list[dict[str, Any]] = field(default_factory=list)  # the JSON lines
    messages: list[str] = field(default_factory=list)  # what happened and what to do, each on a line
    everything: str = ""

    @property
    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.said if event.get("kind")]

    @property
    def events(self) -> list[str]:
        return [event.get("event", "") for event in self.said]


class Workshop:
    """A town, a MicroPython to write, and a socket for each pain."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = folder / "micropython.bin"
        self.image.write_bytes(made_image("esp32s3"))

    def feel(self, name: str, pain: Pain) -> Felt:
        """Type the command at a board that has the pain, until it has said something."""
        folder = self.folder / name
        folder.mkdir()
        registry = folder / "sockets"
        registry.mkdir()
        made = town.create(folder / "town", "Brandis", udp_port=0, web_port=0, mqtt_port=0, station_port=0)
        with ExitStack() as stack:
            board = self._board(folder, registry, pain)
            if board:
                board.start(within_s=LONG_S)
                stack.callback(board.stop)
            if pain.known_with:
                engine = open_database(made.database)
                assert board
                Registry(engine).add("amsel", board.dev_eui, JOIN_EUI, pain.known_with)
                engine.dispose()
            if pain.asleep:
                assert board
                board.do("usb_power", on=False)
                board.wait_for("sleep", within_s=LONG_S)
            words = [word.format(image=self.image) for word in pain.types]
            environment = {
                **os.environ, "SPATZ_VIRTUAL_BOARDS": str(registry), "SPATZ_TOWN": str(made.path),
                "SPATZ_LANG": pain.language, "SPATZ_CACHE": str(self.folder / "cache"), "COLUMNS": "200",
            }  # fmt: skip
            return _typed(words, environment, pain.until)

    def _board(self, folder: Path, registry: Path, pain: Pain) -> VirtualBoard | None:
        if pain.no_board:
            return None
        if pain.flashed is None:
            return VirtualBoard(folder / "board", registry=registry, faults=pain.faults)
        files = {**good_files(**pain.flashed), **pain.files}
        return board_with(folder / "board", registry, files, faults=pain.faults)


def _typed(words: list[str], environment: dict[str, str], until: str) -> Felt:
    felt = Felt()
    process = subprocess.Popen(
        [*SPATZ, *words], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, encoding="utf-8",
    )  # fmt: skip
    assert process.stdout
    assert process.stderr
    errors: list[str] = []

    def read_errors() -> None:
        for line in process.stderr or ():
            errors.append(line)
            if re.search(until, line):
                process.terminate()

    reader = threading.Thread(target=read_errors)
    reader.start()
    limit = threading.Timer(LONG_S, process.kill)
    limit.start()
    try:
        for line in process.stdout:
            felt.everything += line
            if line.startswith("{"):
                event = json.loads(line)
                felt.said.append(event)
                if "message" in event:
                    felt.messages.append(f"{event['message']}\n{event['next_step']}")
                for check in event.get("checks", ()):
                    if check["state"] == "wrong":
                        felt.messages.append(f"{check['detail']}\n{check['next_step']}")
                if re.search(until, event.get("event", "")):
                    process.terminate()
                    break
        process.wait(LONG_S)
    finally:
        limit.cancel()
        process.kill()
        process.stdout.close()
        reader.join(LONG_S)
        process.stderr.close()
    said = "".join(errors)
    felt.everything += said
    if found := re.search(r"^([^\n→]+)\n→ (.+)$", said, re.MULTILINE):
        felt.messages.append(f"{found[1]}\n{found[2]}")
    elif said and not felt.messages:  # it waits, and goes on by itself
        felt.messages.append(said.strip())
    return felt


@dataclass(frozen=True)
class Pain:
    """types: the command; until: the event after which nothing more is waited for; kinds: which troubles may be said,
    none: the program helps itself and says "done"; words: what the message must name, in its language."""

    faults: dict[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    language: str = "de"
    types: tuple[str, ...] = ("flash", "--json", "--board", "heltec-v3", "--firmware", "{image}")
    until: str = "waiting|trouble|done"
    no_board: bool = False
    flashed: dict[str, Any] | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    known_with: bytes | None = None
    asleep: bool = False


UPDATE = ("update", "--json")
SLEEPS = {  # as soon as it starts: micropython issue 8153
    "main.py": b"""import esp32, machine, time
from node.config import load
from node.hardware import Hardware
Hardware(load(), machine, esp32, time).deepsleep(600_000)
"""
}
WAITS = "RST"  # of its sentence at standard error
PAINS = {
    "1 the button dance": Pain({"no_auto_reset": True}, ("boot_mode",), ("PRG", "RST")),
    "2 the port changes its name": Pain({"renames_port": True}, until="trouble|done"),
    "3 no restart after BOOT": Pain({"stays_in_boot": True}, ("no_restart", "no_life"), ("RST",), "en"),
    "4 permission denied": Pain({"no_permission": True}, ("no_permission", "no_entry"), ("sudo",), "en"),
    "5 no driver": Pain({"no_driver": True}, ("no_driver",), ("CP2102", "https://www.silabs.com/")),
    "6 a cable that only charges": Pain({"charge_only": True}, ("no_board",), ("USB cable",), "en"),
    "7 too fast for the cable": Pain({"max_baud": 460800}, until="trouble|done"),
    "8 a stub of before": Pain({"stale_stub": True}, until="trouble|done"),
    "9 the wrong MicroPython": Pain({"boot_loop": True}, ("boot_loop",), ("--board",)),
    "10 no prompt": Pain({"busy_repl": 10_000}, ("no_repl",), ("RST",), "en", UPDATE, until=WAITS, flashed={}),
    "11 asleep": Pain({}, ("no_repl",), ("RST",), "de", UPDATE, until=WAITS, flashed={}, files=SLEEPS, asleep=True),
    "12 erase, or not": Pain({}, (), ("--yes",), "de", (*Pain().types, "--erase"), flashed={}),
    "13 a chip of tomorrow": Pain({"old_revision": True}, ("old_tool",), ("pip install",), "en"),
    "14 another key": Pain(
        {}, ("keys",), ("spatz flash",), "de", ("doctor", "--json"), flashed={}, known_with=bytes(16)
    ),
}


@pytest.fixture(scope="module")
def felt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Felt]]]:
    """All of them at once: most of the time they wait."""
    workshop = Workshop(tmp_path_factory.mktemp("pains"))
    with ThreadPoolExecutor(4) as pool:
        yield {name: pool.submit(workshop.feel, name.split()[0], pain) for name, pain in PAINS.items()}


@pytest.mark.xdist_group("pains")  # else each of pytest's processes feels them all
@pytest.mark.parametrize("name", PAINS)
def test_a_pain_ends_in_one_message_that_says_what_to_do(name: str, felt: dict[str, Future[Felt]]) -> None:
    pain, seen = PAINS[name], felt[name].result(LONG_S * 2)
    assert "Traceback" not in seen.everything, seen.everything
    if pain.until == "trouble|done":
        assert seen.events[-1:] == ["done"], seen.everything
        return
    if seen.kinds:
        assert set(seen.kinds) <= set(pain.kinds)
    assert len(set(seen.messages)) == 1, seen.everything
    (message,) = set(seen.messages)
    for word in pain.words:
        assert word in message
    assert len(message.split()) <= MOST_WORDS
    other = "en" if pain.language == "de" else "de"
    if message.count("\n") == 0:
        waiting = "The node does not answer. Press {reset} once; this goes on by itself."
        assert message == translate(waiting, pain.language).format(reset="RST")
        assert len(translate(waiting, other).split()) <= MOST_WORDS
    elif pain.kinds:
        kind, fields = recognised(message, pain.language)
        assert kind in pain.kinds
        translated = [translate(part, other).format(**fields) for part in TROUBLES[kind]]
        assert len(" ".join(translated).split()) <= MOST_WORDS
        assert " ".join(translated) != message.replace("\n", " ")


def recognised(message: str, language: str) -> tuple[str, dict[str, str]]:
    """Which of the troubles it is, and what stands in its fields."""
    for kind, parts in TROUBLES.items():
        pattern, known = "", set()
        for piece in re.split(r"(\{\w+\})", "\n".join(translate(part, language) for part in parts)):
            if not piece.startswith("{"):
                pattern += re.escape(piece)
            elif piece in known:
                pattern += f"(?P={piece[1:-1]})"
            else:
                known.add(piece)
                pattern += f"(?P<{piece[1:-1]}>.+)"
        if found := re.fullmatch(pattern, message):
            return kind, found.groupdict()
    raise AssertionError(f"not one of ours: {message}")


# boot.py-proof: nothing that can be wrong with a node's files locks anybody out

BROKEN = {
    "main.py": {"main.py": b"this is not python(\n"},
    "main.py that raises": {"main.py": b"raise RuntimeError('lost')\n"},
    "boot.py": {"boot.py": b"import no_such_module\n"},
    "the program": {"node/app.mpy": b"M\x05\x00\x1fof another version"},
    "config.json": {"config.json": b"{ half of"},
}


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Felt]]]:
    workshop = Workshop(tmp_path_factory.mktemp("broken"))
    with ThreadPoolExecutor(3) as pool:
        yield {
            what: pool.submit(workshop.feel, f"b{number}", Pain(types=UPDATE, until="never", flashed={}, files=files))
            for number, (what, files) in enumerate(BROKEN.items())
        }


@pytest.mark.xdist_group("broken files")
@pytest.mark.parametrize("what", BROKEN)
def test_a_node_with_broken_files_is_reached_and_mended(what: str, mended: dict[str, Future[Felt]]) -> None:
    seen = mended[what].result(LONG_S * 2)
    assert "Traceback" not in seen.everything
    assert seen.said, seen.everything
    (event,) = seen.said
    changed = {*BROKEN[what]} - {"boot.py"}  # that one is people's own
    assert changed <= {change["path"] for change in event["sent"]}
    assert event["running"] or not changed, "it lives again"
