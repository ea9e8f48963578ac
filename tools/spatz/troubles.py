"""What goes wrong at the cable, and what the person in front of it does next.

Two tables. `TROUBLES`: in the words of a helper at a workshop, what happened, then one physical action; both together
have at most 25 words, in English and in German (tests/tools/test_troubles.py counts them). `_SIGNS`: by which words of
esptool, pyserial, mpremote and the operating system a trouble is recognised.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from nest.errors import UserError
from nest.i18n import language_of_locale, tr
from nest.logs import printable

if TYPE_CHECKING:
    from spatz.catalogue import Board
    from spatz.usb import Port


class Trouble(UserError):  # noqa: N818  the word that people read
    """A UserError of a known kind (a key of `TROUBLES`), so that programs can tell them apart."""

    def __init__(self, kind: str, message: str, next_step: str) -> None:
        super().__init__(message, next_step)
        self.kind = kind


# kind: (what happened, what to do now); {fields} are given by whoever raises it
TROUBLES = {
    "no_board": (
        "No board was found.",
        "Plug one in, or press RST: a sleeping board is not seen. Nothing? Take another USB cable: many only charge.",
    ),
    "no_permission": ("{device} belongs to the group {group}.", "Type this, then log in anew: {command}"),
    "no_entry": ("You may not open {device}.", "Type this, then start again: {command}"),
    "no_driver": ("A {bridge} is plugged in, but its driver is missing.", "Install it: {driver}"),
    "boot_mode": ("The board does not answer.", "{how}"),
    "port_gone": ("The board has gone.", "Plug it in again and start once more; nothing is lost."),
    "no_restart": ("All is written, but the board did not start by itself.", "Press {reset} once."),
    "bad_cable": ("Data arrive damaged, even slowly.", "Take a shorter cable, straight into the computer."),
    "stale": ("The boot loader is confused.", "Pull the cable out, wait a moment, plug it in and start again."),
    "boot_loop": ("The board starts again and again: wrong MicroPython for it.", "Choose the board: --board NAME"),
    "wrong_chip": ("This file is for {file_chip}, the board has {chip}.", "Take the file for {build}."),
    "bad_image": ("{file} is damaged or no MicroPython: {why}.", "Fetch it again: spatz firmware fetch"),
    "no_image": ("MicroPython for {board} is not here.", "With internet, fetch it: spatz firmware fetch {board}"),
    "no_repl": ("The node does not answer.", "Press {reset} once; then you have {seconds} seconds. Start again."),
    "old_tool": ("This board is newer than this program.", "Update it: pip install --upgrade funkspatz esptool"),
    "busy_port": ("Another program uses {device}.", "Close Thonny and serial monitors, then start again."),
    "other_town": ("This board belongs to another town.", "To take it over, start again with --take-over."),
    "flash_full": ("The files do not fit into this board's flash.", "Take a board with more, or fewer sensors."),
    "wrong_layout": ("This MicroPython divides the flash differently.", "Start again with --erase, with a new key."),
    "boot_loader": ("The board waits in its boot loader.", "Press {reset} once."),
    "no_micropython": ("There is no MicroPython on this board.", "Write it: spatz flash"),
    "old_micropython": ("The MicroPython on this node, {version}, is too old.", "Write a new one: spatz flash"),
    "no_life": ("All is written, but the node says nothing.", "Press {reset} once, then look: spatz doctor"),
    "locked": ("This board is locked by its maker.", "Take another board; this one cannot be written."),
    "board_full": ("The node has no room left for its files.", "Start again: spatz flash"),
    "unknown": ("It did not work: {why}.", "Pull the cable out, plug it in again and start once more."),
    "keys": ("The nest refuses this node's key.", "Write it again: spatz flash. Never type keys."),
}  # fmt: skip


# kind: what to do instead while `spatz flash` tries on: nothing is to be started again
WAITING = {
    "boot_mode": "Hold BOOT (or PRG), press RST, let go of BOOT.",
    "port_gone": "Plug it in again; nothing is lost.",
    "stale": "Pull the cable out, wait a moment, plug it in.",
    "unknown": "Pull the cable out, plug it in again.",
    "busy_port": "Close Thonny and serial monitors.",
}
GOES_ON = frozenset({*WAITING, "bad_cable", "no_restart"})
"""Kinds that hands mend while a program waits for it."""


def trouble(kind: str, **fields: object) -> Trouble:
    """The trouble of that kind, in the user's language."""
    message, next_step = TROUBLES[kind]
    return Trouble(kind, tr(message, **fields), tr(next_step, **fields))


# What they say -> kind, the first that fits. esptool 5.6: loader.py, cmds.py; pyserial 3.5: serialposix.py,
# serialwin32.py, which show an OSError as repr; mpremote 1.29: transport_serial.py. Numbers, because Windows speaks
# the user's language.
_SIGNS = tuple(
    (re.compile(sign), kind)
    for sign, kind in (
        # the cable was pulled, on Windows
        (r"ClearCommError|ReadFile failed|WriteFile failed|GetOverlappedResult|Cannot configure port", "port_gone"),
        (r"device disconnected", "port_gone"),  # pyserial adds "or multiple access on port?"; mostly it is not that
        # who may open it: Windows refuses a port that another program has, and has no groups
        (r"could not open port .*PermissionError\(13,", "busy_port"),
        (r"Errno 13\b|Errno 1\b", "permission"),
        (r"Errno 16\b|exclusively lock", "busy_port"),
        (r"failed to access", "closed"),
        (r"Errno 28\b|ENOSPC", "board_full"),
        # it is not there any more: ENOENT, EIO, ENXIO, ENODEV; on Windows also 22 and 31
        (r"Errno (2|5|6|19)\b|FileNotFoundError|device disconnected|device reports error", "port_gone"),
        (r"(PermissionError|OSError)\((22|31|5|6),|port that is not open", "port_gone"),
        # the chip
        (r"Secure Download Mode|Secure Boot|lash encryption", "locked"),
        (r"requires chip revision|nsupported chip revision|Unexpected chip (magic|ID)|requires a newer", "old_tool"),
        (r"by this version of esptool|Failed to autodetect chip|update esptool", "old_tool"),
        (r"will not fit in", "flash_full"),
        (r"This chip is .*, not ", "wrong_chip"),
        # a running program prints; else the boot loader answers, but not what it should
        (r"(?s)Failed to connect.*Invalid head of packet \(0x(0A|0D|[2-7][0-9A-F])\)", "boot_mode"),
        (r"start stub flasher|Response doesn't match|no sync reply|Write timeout", "stale"),
        (r"(?s)Failed to connect.*(Invalid head of packet|SLIP escape|serial noise|Packet content)", "stale"),
        (r"Wrong boot mode|Failed to connect|Could not connect to an Espressif|Guru Meditation", "boot_mode"),
        (r"MD5 of file|region is empty|Invalid head of packet|SLIP escape|serial noise|Packet content", "bad_cable"),
        (r"Corrupt data|[Cc]hecksum|digest|Digest|[Ii]nflate|Deflate|Adler32|baud rate", "bad_cable"),
        (
            r"flash chip connection|Too much data|Not enough data|Bad data length|Read more|Only got \d",
            "bad_cable",
        ),
        (r"No serial data received|No more data to read|stopped responding", "boot_mode"),
        # MicroPython
        (r"raw repl|raw paste|timeout waiting for|could not exec command", "no_repl"),
    )
)


def explain(error: BaseException, port: Port | None = None, board: Board | None = None, **fields: object) -> Trouble:
    """What an error of esptool, pyserial, mpremote or the operating system means to a person. Never raises.

    port: where it happened; board: what it happened to, if known: its buttons are named then. fields: what else the
    sentences may hold, for example `seconds`, or `file_chip`, `chip` and `build`.
    """
    if isinstance(error, Trouble):
        return error
    if isinstance(error, UserError):
        return Trouble("unknown", error.message, error.next_step)
    said = _said(error)
    kind = next((kind for sign, kind in _SIGNS if sign.search(said)), "unknown")
    device = port.device if port else ""
    if kind == "closed":  # mpremote does not tell why
        kind = _why_closed(device)
    if kind == "permission":
        return _permission(device)
    boot, reset, how = _buttons(board)
    known = {
        "device": device or "USB",
        "how": how,
        "boot": boot,
        "reset": reset,
        "seconds": 60,
        "why": _short(said),
        **fields,
    }
    if kind == "wrong_chip" and not {"file_chip", "chip", "build"} <= set(known):
        kind = "boot_loop"
    return trouble(kind, **known)


def while_waiting(of: Trouble, board: Board | None) -> Trouble:
    """The same, for somebody whose program goes on by itself; board: as for `explain`."""
    if of.kind not in WAITING or (of.kind == "boot_mode" and board):
        return of
    return Trouble(of.kind, of.message, tr(WAITING[of.kind]))


@overload
def leaving_boot(error: Trouble, boards: Sequence[Board]) -> Trouble: ...
@overload
def leaving_boot(error: UserError, boards: Sequence[Board]) -> UserError: ...
def leaving_boot(error: UserError, boards: Sequence[Board]) -> UserError:
    """The same, and where it says how to get out of the boot loader, as `boards` need it: those that it can be. Reset
    does not help as long as a wire leads in again."""
    if not boards or not isinstance(error, Trouble) or error.kind not in ("no_restart", "boot_loader"):
        return error
    german = language_of_locale() == "de"
    loaders = [board.bootloader for board in boards]
    ways = {
        (loader.leave_de if german else loader.leave_en) or tr("Press {reset} once.", reset=_buttons(board)[1])
        for board, loader in zip(boards, loaders, strict=True)
    }
    wires = sorted({loader.boot for loader in loaders if loader.leave_en})
    if len(ways) == 1:
        step = ways.pop()
    elif wires:
        step = tr("Is a wire on {pin}? Take it off. Then press the reset button once.", pin=" / ".join(wires))
    else:
        step = tr("Press {reset} once.", reset=tr("the reset button"))
    return Trouble(error.kind, error.message, step)


def how_to_boot(board: Board | None) -> str:
    """By which buttons a board comes into its boot loader, in the user's language."""
    return _buttons(board)[2]


def _said(error: BaseException) -> str:
    """Its words, and those of what it came from."""
    said, at = [], error
    while at is not None and len(said) < 5:
        number = f"[Errno {at.errno}] " if isinstance(at, OSError) and at.errno else ""
        said.append(number + str(at))
        at = at.__cause__
    return "\n".join(said)


def _short(said: str) -> str:
    """At most eight words of the first line, for a message that nobody has foreseen."""
    words = printable(said.strip().partition("\n")[0]).split()
    return " ".join(words[:8]).rstrip(".:") or "?"


def _buttons(board: Board | None) -> tuple[str, str, str]:
    """(BOOT, RST, how to enter the boot loader), as they are printed on the board."""
    german = language_of_locale() == "de"
    if board is None:
        return "BOOT", "RST", tr("Hold BOOT (or PRG), press RST, let go of BOOT, then start again.")
    loader = board.bootloader
    reset = loader.reset or tr("the reset button")
    return loader.boot or "BOOT", reset, loader.how_de if german else loader.how_en


def _permission(device: str) -> Trouble:
    """Who may open it, and the one command that mends it."""
    group, theirs = _owner(device)
    if not theirs:
        return trouble("no_entry", device=device or "USB", command=f"sudo chmod a+rw {device}")
    command = f"sudo usermod -aG {group} $USER"
    if sys.platform == "darwin":
        command = f"sudo dseditgroup -o edit -a $USER -t user {group}"
    return trouble("no_permission", device=device or "USB", group=group, command=command)


def _owner(device: str) -> tuple[str, bool]:
    """(the group that the device belongs to, whether it helps to be in it)."""
    path = Path(device)
    try:
        group = path.group()
        return group, path.stat().st_mode & 0o060 == 0o060 and group != "root"
    except (OSError, KeyError, NotImplementedError):  # it is gone, nobody's, or there are no groups
        return "dialout", True


def _why_closed(device: str) -> str:
    if sys.platform == "win32":
        return "busy_port"
    if not Path(device).exists():
        return "port_gone"
    return "busy_port" if os.access(device, os.R_OK | os.W_OK) else "permission"
