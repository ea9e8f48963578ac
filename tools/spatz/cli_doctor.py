"""`spatz doctor`: a table of what is well and what is not, with one thing to do for each."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from nest.errors import EXIT_USER_ERROR, UserError
from nest.i18n import tr
from nest.logs import printable

if TYPE_CHECKING:
    from spatz.attached.doctor import Check
    from spatz.usb import Port

_PLUG_IN_S = 30.0
_LOOK_S = 0.2
_SIGNS = {"ok": ("✔", "ok"), "wrong": ("✘", "!!"), "note": ("•", "-")}
_COLOURS = {"ok": "32", "wrong": "31", "note": "33"}


def run(typed: str | None, town: Path | None, *, as_json: bool) -> None:
    """Look at one board, or why there is none. Exit status 0: all is well."""
    from spatz.attached.town import town_folder

    checks: list[Check] = []
    with contextlib.closing(_checks(typed, town_folder(town), as_json=as_json)) as found:  # lets the node run again
        for check in found:
            checks.append(check)
            if not as_json:
                _print(check)
    wrong = sum(check.state == "wrong" for check in checks)
    if as_json:
        print(json.dumps({"ok": not wrong, "checks": [check.to_json() for check in checks]}))
    elif not wrong:
        print(tr("Nothing is wrong."))
    if wrong:
        raise typer.Exit(EXIT_USER_ERROR)


def _checks(typed: str | None, town: Path | None, *, as_json: bool) -> Generator[Check]:
    from spatz.attached.doctor import diagnose, failed

    try:
        port = _port(typed, town, as_json=as_json)
    except UserError as error:
        yield failed("usb", tr("USB"), error)
        return
    yield from diagnose(port, town, say=lambda text: print(text, file=sys.stderr))


def _port(typed: str | None, town: Path | None, *, as_json: bool) -> Port:
    """The board that is meant; a person who has none plugged in is asked to do it now, for that shows a bad cable."""
    from spatz.attached.select import choose_ports
    from spatz.cli_attached import named_by
    from spatz.troubles import Trouble
    from spatz.usb import list_ports

    before = {port.key for port in list_ports()}
    try:
        chosen = choose_ports([typed] if typed else [], ask=False if as_json else None, named=named_by(town))
    except Trouble as error:
        if error.kind != "no_board" or typed or as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        print(tr("No board is to be seen. Plug it in now, or pull it out and plug it in again."), file=sys.stderr)
        _wait_for_a_new_one(before)
        chosen = choose_ports([], ask=None)
    if len(chosen) > 1:
        raise UserError(tr("This is done with one board at a time."), tr("Name one of them."))
    return chosen[0]


def _wait_for_a_new_one(before: set[str]) -> None:
    """Until a device is there that was not there before, or half a minute is over."""
    from spatz.usb import list_ports

    until = time.monotonic() + _PLUG_IN_S
    while time.monotonic() < until and not {port.key for port in list_ports()} - before:
        time.sleep(_LOOK_S)


def _print(check: Check) -> None:
    sign, plain = _SIGNS[check.state]
    try:
        sign.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        sign = plain
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        sign = f"\x1b[{_COLOURS[check.state]}m{sign}\x1b[0m"
    print(f"{sign} {check.title:14} {printable(check.detail)}", flush=True)
    if check.next_step:
        print(f"  {'':14} → {printable(check.next_step)}", flush=True)
