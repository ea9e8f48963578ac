"""What goes wrong at the cable, and what the person in front of it does next.

One table, in the words of a helper at a workshop: what happened, then one physical action. Both together have at most
25 words, in English and in German (tests/tools/test_troubles.py counts them).
"""

from __future__ import annotations

from nest.errors import UserError
from nest.i18n import tr


class Trouble(UserError):  # noqa: N818  the word that people read
    """A UserError of a known kind (a key of `TROUBLES`), so that programs can tell them apart."""

    def __init__(self, kind: str, message: str, next_step: str) -> None:
        super().__init__(message, next_step)
        self.kind = kind


# kind: (what happened, what to do now); {fields} are given by whoever raises it
TROUBLES = {
    "no_board": ("No board was found.", "Plug one in. Nothing new appears? Take another USB cable: many only charge."),
    "no_permission": ("{device} belongs to the group {group}.", "Type this, then log in anew: {command}"),
    "no_driver": ("A {bridge} is plugged in, but its driver is missing.", "Install it: {driver}"),
    "boot_mode": ("The board does not answer.", "{how}"),
    "port_gone": ("The board has gone.", "Plug it in again and start once more; nothing is lost."),
    "no_restart": ("All is written, but the board did not start by itself.", "Press {reset} once."),
    "bad_cable": ("Data arrive damaged, even slowly.", "Take a shorter cable, straight into the computer."),
    "stale": ("The boot loader is confused.", "Pull the cable out, wait a moment, plug it in and start again."),
    "boot_loop": ("The board starts again and again: wrong MicroPython for it.", "Choose the board: --board NAME"),
    "wrong_chip": ("This file is for {file_chip}, the board has {chip}.", "Take the file for {build}."),
    "bad_image": ("{file} is damaged or no MicroPython: {why}.", "Fetch it again: spatz firmware fetch"),
    "no_image": ("MicroPython for {board} is not here yet.", "With internet: spatz firmware fetch {board}. Or: --firmware FILE"),
    "no_repl": ("The node does not answer.", "Press {reset} once; then you have {seconds} seconds. Start again."),
    "old_tool": ("This board is newer than this program.", "Update it: pip install --upgrade funkspatz esptool"),
    "busy_port": ("Another program uses {device}.", "Close Thonny, serial monitors and other windows, then start again."),
    "other_town": ("This board belongs to another town.", "To take it over, start again with --take-over."),
    "flash_full": ("The files do not fit into this board's flash.", "Take a board with more, or fewer sensors."),
    "wrong_layout": ("This MicroPython divides the flash in another way.", "Start again with --erase; the node gets a new key."),
    "no_life": ("All is written, but the node says nothing.", "Press {reset} once, then look: spatz doctor"),
    "keys": ("The nest refuses this node's key.", "Write it again: spatz flash. Never type keys."),
}  # fmt: skip


def trouble(kind: str, **fields: object) -> Trouble:
    """The trouble of that kind, in the user's language."""
    message, next_step = TROUBLES[kind]
    return Trouble(kind, tr(message, **fields), tr(next_step, **fields))
