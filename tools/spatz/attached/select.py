"""Which of the boards at this computer is meant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nest.errors import UserError
from nest.i18n import tr

from spatz.troubles import trouble
from spatz.usb import Port, boards_at_usb, list_ports, without_driver

if TYPE_CHECKING:
    from spatz.boards import Board


def choose_ports(
    ports: Sequence[str],
    *,
    all_: bool = False,
    ask: bool | None = None,
    named: Callable[[Port], str | None] | None = None,
) -> list[Port]:
    """The boards that a command is about, each with a `device`.

    Args:
        ports: what was typed: names of ports (COM3, /dev/ttyUSB0), serial numbers, or names of nodes; empty for the
            board that is plugged in.
        all_: every board, when none was typed.
        ask: whether several may be asked about; without it, whether somebody sits at a terminal.
        named: what the node at a port calls itself; without it, nodes cannot be meant by their names.

    Raises:
        Trouble: there is no board, or its driver is missing.
        UserError: what was typed is not there, or there are several boards and nobody can be asked.
    """
    if ports:
        return _each_once([_meant(text, named) for text in ports])
    there = boards_at_usb()
    boards = [port for port in there if port.device]
    if not boards:
        raise _nothing(there)
    if all_ or len(boards) == 1:
        return boards
    if ask is None:
        ask = sys.stdin.isatty() and sys.stderr.isatty()
    if not ask:
        raise UserError(
            tr("{count} boards are plugged in: {ports}.", count=len(boards), ports=_listed(boards)),
            tr("Name one of them, or say --all."),
        )
    return _asked(boards)


def describe(port: Port) -> str:
    """A port as people tell it from others: /dev/ttyUSB0 (CP2102)."""
    what = port.bridge.name if port.bridge else port.product
    return f"{port.device} ({what})" if what else port.device


def board_at(port: Port) -> Board | None:
    """What is known of the board before it is asked, from its USB identity: one of those that show themselves so, if
    their buttons are called the same."""
    from spatz.boards import candidates

    boards = candidates(port.usb_id)
    same = {(board.bootloader.boot, board.bootloader.reset) for board in boards}
    return boards[0] if len(same) == 1 else None


def _listed(ports: Sequence[Port]) -> str:
    return ", ".join(port.device for port in ports)


def _nothing(there: Sequence[Port]) -> UserError:
    for port in [port for port in there if not port.device] or without_driver():
        if port.bridge:
            return trouble("no_driver", bridge=port.bridge.name, driver=port.bridge.driver)
    return trouble("no_board")


def _meant(text: str, named: Callable[[Port], str | None] | None) -> Port:
    there = [port for port in list_ports() if port.device]
    for port in there:
        if text in (port.device, port.serial_number, port.location):
            return port
    for port in there:
        if text.lower() == port.device.lower():  # com3
            return port
    if Path(text).is_absolute() and Path(text).exists():  # a port without a USB identity
        return Port(text, None, None)
    if named:
        boards = [port for port in there if port.bridge]
        for port in sorted(boards, key=_is_disturbed):
            if named(port) == text:
                return port
    if not there:
        raise _nothing(list_ports())
    raise UserError(
        tr('There is no board "{name}" at this computer.', name=text),
        tr("Plugged in: {ports}.", ports=_listed(there)),
    )


def _is_disturbed(port: Port) -> bool:
    """Whether its node must be asked who it is: a chip with its own USB says so by its serial number."""
    return not (port.bridge and port.bridge.native)


def _each_once(ports: Sequence[Port]) -> list[Port]:
    return list({port.device: port for port in ports}.values())


def _asked(boards: Sequence[Port]) -> list[Port]:
    print(tr("Several boards are plugged in. Which one?"), file=sys.stderr)
    for number, port in enumerate(boards, 1):
        print(f"  {number}  {describe(port)}", file=sys.stderr)
    while True:
        print(tr("Number, or “all”:"), end=" ", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise KeyboardInterrupt
        answer = answer.strip().lower()
        if answer in ("all", "alle"):
            return list(boards)
        if answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(boards):
            return [boards[int(answer) - 1]]
