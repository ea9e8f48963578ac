"""What a node says is shown in the person's language, and moves no terminal; a strange node harms no other."""

from __future__ import annotations

import ast
import contextlib
import json
import queue
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nest.errors import UserError, run_command
from nest.i18n import language_of_locale
from spatz import cli_attached
from spatz.attached import doctor, logs, naming, update, updating
from spatz.attached.enter import Enter
from spatz.attached.firmware_words import in_words
from spatz.attached.repl import NodeError, Repl
from spatz.attached.select import choose_ports
from spatz.cli import app
from spatz.troubles import Trouble, trouble
from spatz.usb import Port
from tools.attached.flashed import wishes
from typer.testing import CliRunner

FIRMWARE = Path(__file__).resolve().parents[3] / "firmware"
SHOWN = (
    *(FIRMWARE / "node" / f"{name}.py" for name in ("config", "identity", "pmu", "hardware", "cycle", "app")),
    *sorted((FIRMWARE / "radio").glob("*.py")),
)
ERRORS = {"ConfigError", "IdentityError", "RadioError", "OSError", "ValueError"}
BOARD = Port("COM3", 0x10C4, 0xEA60, "0001A")
NATIVE = Port("COM7", 0x303A, 0x1001, "02:11:22:33:44:55")
CLEAR = "\x1b[2J"


def example(said: ast.expr) -> str:
    """A sentence of the firmware with something put into its gaps."""
    match said:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(example(part) for part in parts)
        case ast.BinOp(left=left, op=ast.Mod()):
            return re.sub(r"%\w+", "12", example(left))
        case ast.BinOp(left=left, right=right):
            return example(left) + example(right)
    return "12"


def sentences() -> list[str]:
    found = []
    for path in SHOWN:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[said, *_])) if name in ERRORS:
                    found.append(example(said))
    return found


@pytest.mark.parametrize("sentence", sentences())
def test_what_the_firmware_says_is_there_in_german(sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_words(sentence) == sentence
    monkeypatch.setenv("SPATZ_LANG", "de")
    language_of_locale.cache_clear()
    try:
        german = in_words(sentence)
    finally:
        monkeypatch.undo()
        language_of_locale.cache_clear()
    assert german != sentence
    assert "{" not in german
    assert not german.startswith("Der Spatz sagt")


def test_nothing_that_a_node_says_is_obeyed_by_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise UserError(f"a{CLEAR}\nb", f"c{CLEAR}")

    with pytest.raises(SystemExit):
        run_command(command)
    assert capsys.readouterr().err == "a\\x1b[2J\nb\n→ c\\x1b[2J\n"
    assert CLEAR not in NodeError(f"x\n{CLEAR}").message
    assert CLEAR not in in_words(CLEAR)
    result = updating.Result("COM3", wishes(), update.Plan(remove=(CLEAR,)), 1.0, dry_run=False, running=False)
    assert CLEAR not in "".join(cli_attached._told(result))


# --- strange nodes ----------------------------------------------------------------------------------------------------


def attached(monkeypatch: pytest.MonkeyPatch, module: Any, ask: Any) -> None:
    """What `module` attaches to answers with `ask`."""

    @contextlib.contextmanager
    def attach(*_: Any, **__: Any) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(ask=ask)

    monkeypatch.setattr(module, "attach", attach)


@pytest.mark.parametrize(("error", "step"), [(NodeError("x\nMemoryError"), "spatz flash"), (KeyError("x"), "cable")])
def test_the_doctor_always_has_something_to_do(error: Exception, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: Any, **__: Any) -> None:
        raise error

    attached(monkeypatch, doctor, ask)
    last = list(doctor.diagnose(BOARD))[-1]
    assert last.state == "wrong"
    assert step in last.next_step


def test_a_log_with_an_unreadable_file_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([{"name": "amsel"}, ["log/0.bin", "log/1.bin"], None, "AAAA"])
    attached(monkeypatch, logs, lambda *_, **__: next(answers))
    said: list[str] = []
    assert logs.read_stored(BOARD, say=said.append) == ("amsel", [])
    assert len(said) == 1
    assert "log/0.bin" in said[0]


@pytest.mark.parametrize("listens", [True, False])
def test_what_was_sent_in_vain_is_taken_back(listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    repl, asked = Repl(BOARD), []

    def run(_: str) -> str:
        raise trouble("board_full")

    monkeypatch.setattr(Repl, "listens", listens)
    monkeypatch.setattr(repl, "run", run)
    monkeypatch.setattr(repl, "ask", lambda _, **given: asked.append(given))
    with pytest.raises(Trouble):
        update.carry_out(repl, {"a.mpy": b"a"}, update.Plan((update.Change("a.mpy", "new", 1),)))
    assert asked == [{}, {"paths": ["a.mpy"]}][: 1 + listens]


def test_a_strange_board_does_not_end_the_report_of_the_others() -> None:
    def job(port: Port) -> str:
        if port is BOARD:
            raise RecursionError("maximum recursion depth exceeded")
        return "done"

    told = dict(cli_attached._each([BOARD, NATIVE], job, threading.Event()))
    assert isinstance(told[BOARD], Trouble)
    assert told[NATIVE] == "done"


def test_an_update_after_which_the_node_is_silent_has_failed(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug(registry, BOARD)
    plan = update.Plan((update.Change("main.py", "changed", 1),))
    for running, status in ((True, 0), (False, 2)):
        result = updating.Result("COM3", wishes(), plan, 1.0, dry_run=False, running=running)
        monkeypatch.setattr(updating, "update_board", lambda *_, given=result, **__: given)
        assert CliRunner().invoke(app, ["update"]).exit_code == status


# --- which one is it --------------------------------------------------------------------------------------------------


def plug(registry: Path, port: Port) -> None:
    said = {name: getattr(port, name) for name in Port.__dataclass_fields__}
    (registry / f"{port.device}.port.json").write_text(json.dumps(said), encoding="utf-8")


def test_a_node_is_found_in_the_town_before_another_one_is_disturbed(
    tmp_path: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"021122fffe334455": SimpleNamespace(slug="zeisig")}
    monkeypatch.setattr(naming.town, "find", lambda _, dev_eui: known.get(dev_eui))
    monkeypatch.setattr(naming, "attach", lambda *_, **__: pytest.fail("it was disturbed"))
    for port in (BOARD, NATIVE):
        plug(registry, port)
    assert choose_ports(["zeisig"], named=lambda port: naming.name_of(port, tmp_path)) == [NATIVE]


def test_whoever_is_asked_for_its_name_is_not_reset_and_the_person_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed, said = [], []

    @contextlib.contextmanager
    def attach(*_: Any, may_reset: bool, **__: Any) -> Iterator[SimpleNamespace]:
        allowed.append(may_reset)
        yield SimpleNamespace(ask=lambda _: {"name": "amsel"})

    monkeypatch.setattr(naming, "attach", attach)
    assert naming.name_of(BOARD, say=said.append) == "amsel"
    assert allowed == [False]
    assert "COM3" in said[0]


def test_enter_is_pressed_for_the_board_that_flickers(monkeypatch: pytest.MonkeyPatch) -> None:
    typed: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True, readline=typed.get))
    enter = Enter()
    try:
        for _ in range(3):
            seen = enter.watch()
            assert not seen()
            typed.put("\n")
            until = time.monotonic() + 5
            while not seen():
                assert time.monotonic() < until
                time.sleep(0.001)
    finally:
        typed.put("")
