"""One board from "who are you" to its first sign of life. What the others do is nothing to it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nest.errors import UserError
from nest.i18n import tr

from spatz.flash.keeping import LOG_FILES, log_in, parted
from spatz.flash.life import wait_for_life
from spatz.flash.link import BAUDS, Link
from spatz.flash.plan import Keys, Plan, Probe, is_our_log, judge, layout_on, make_plan
from spatz.flash.town import FlashTown
from spatz.labels.shortcode import short_code
from spatz.troubles import Trouble, how_to_boot, leaving_boot, trouble, while_waiting
from spatz.usb import Port
from spatz.wishes import Wishes

if TYPE_CHECKING:
    from spatz.catalogue import Board
    from spatz.images.micropython_image import MicroPythonImage


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for, for every board. None: as the registry or the board's own manifest say, or as always."""

    board: str | None = None
    name: str | None = None
    firmware: Path | None = None
    changes: dict[str, Any] = field(default_factory=dict)  # fields of Wishes
    take_over: bool = False
    erase: bool = False
    bauds: tuple[int, ...] = BAUDS
    wait_s: float = 60  # for somebody to press the button
    life_s: float = 30
    strict: bool = False  # many boards: `board` makes no other kind of a known one


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at one port: what, and more about it; never a key. For `question`, `answer` is to be
    called with a board's name, or with a UserError."""

    port: Port
    what: str
    fields: dict[str, Any]
    answer: Callable[[str | UserError], None] | None = None

    def to_json(self) -> str:
        """One line."""
        return json.dumps({"event": self.what, "port": self.port.device, **self.fields})


@dataclass(frozen=True, slots=True)
class Done:
    """A node that lives."""

    name: str
    dev_eui: bytes
    board: str
    keys: Keys
    seconds: float
    was_board: str = ""  # another kind, as it was known before
    wiring: tuple[str, ...] = ()  # of its sensors, in words

    @property
    def code(self) -> str:
        """Its short code."""
        return short_code(self.dev_eui)


Tell = Callable[..., None]
Ask = Callable[[list["Board"]], str]
ImageFor = Callable[["Board", Path | None], "MicroPythonImage"]


_JUDGED = 3  # times, while somebody changes its key


class AlreadyDone(Exception):  # noqa: N818  not an error
    """This board was flashed a moment ago (`spatz flash --watch`, and it was plugged in again)."""


@dataclass(slots=True)
class OneBoard:
    """tell(what, **fields): what happens; ask(boards): which of them it is; image_for: MicroPython for a board."""

    port: Port
    request: Request
    town: FlashTown
    tell: Tell
    ask: Ask
    image_for: ImageFor
    unseen: Callable[[bytes], bool] = lambda dev_eui: True
    link: Link | None = None
    dev_eui: bytes = b""  # as soon as it is known
    half_keyed: bool = False  # the town has its new key, and the board perhaps not
    was_board: str = ""
    gone: bool = False

    def end(self) -> None:
        """Somebody has pulled it out and another board may be in its socket: it is waited for no longer."""
        self.gone = True
        if self.link:
            self.link.kill()

    def run(self) -> Done:
        """Raises UserError (a Trouble mostly), AlreadyDone."""
        from spatz.boards import load_board
        from spatz.wires import wiring

        began = time.monotonic()
        link = self.link = Link(
            self.port, self._passed_on, self._likely(), bauds=self.request.bauds, wait_s=self.request.wait_s
        )
        try:
            probe = link.probe()
            self.dev_eui = probe.dev_eui
            if not self.unseen(probe.dev_eui):
                link.end()
                raise AlreadyDone
            self.tell("chip", chip=probe.chip, dev_eui=probe.dev_eui.hex(), flash_mb=probe.flash_bytes >> 20)
            wishes, keys = self._write(link, probe)
            self.tell("step", step="start", node=wishes.name)
            link.end()
            self._live(wishes)
        except UserError as error:
            told = trouble("port_gone") if self.gone else error
            raise (_half_keyed(told) if self.half_keyed else told) from None
        finally:
            link.close()
        seconds = round(time.monotonic() - began, 1)
        told = tuple(wiring(load_board(wishes.board), wishes.sensors))
        return Done(wishes.name, probe.dev_eui, wishes.board, keys, seconds, self.was_board, told)

    def _write(self, link: Link, probe: Probe) -> tuple[Wishes, Keys]:
        from spatz.boards import load_board
        from spatz.flash.town import KeyChanged
        from spatz.images.filesystem import node_files
        from spatz.images.micropython_image import check_chip
        from spatz.images.nvs_image import nvs_image

        known = self.town.find(probe.dev_eui)
        own, own_log = self._own_files(link, probe)
        wished = (self.town.wishes(known.slug) if known else None) or own
        board = load_board(self.request.board or self._board_of(probe, wished))
        if board.module.chip != probe.chip:
            raise _not_this_board(board, probe)
        self._compare_boards(board, wished, probe.chip, probe.flash_bytes >> 20 or None)
        image = self.image_for(board, self.request.firmware)
        check_chip(image, probe.chip, board.micropython.build)
        layout = image.layout(probe.flash_bytes)
        program = image.parts(layout)
        former = None if known else self.town.former(probe.dev_eui)
        for _ in range(_JUDGED):
            keys = judge(
                probe, layout, known, former=former, take_over=self.request.take_over, erase=self.request.erase
            )
            log, strange = self._parted(probe, own_log, is_ours=is_our_log(probe, layout, known, former))
            # whatever cannot be is found before there are new keys
            name = self.town.name(probe.dev_eui, self.request.name)
            planned = replace(wished or Wishes("", board.name), board=board.name, name=name, **self.request.changes)
            files, fits = _with_log(node_files(planned), log, layout.vfs.size)
            try:
                wishes, identity = self.town.keys(keys, probe.dev_eui, self.request.name, planned, known)
                break
            except KeyChanged:
                known = self.town.find(probe.dev_eui)
        else:
            raise trouble("unknown", why="KeyChanged")
        self.half_keyed = keys.written
        if wishes != planned:  # another program at this town has taken the name
            files, fits = _with_log(node_files(wishes), log, layout.vfs.size)
        self.tell(
            "node", node=wishes.name, code=short_code(probe.dev_eui), board=board.name, keys=keys.value,
            dev_eui=probe.dev_eui.hex(),
        )  # fmt: skip
        if strange:
            file = self.town.logs.write_aside(probe.dev_eui, strange)
            self.tell("log_aside", node=wishes.name, file=str(file), why="old")
        nvs = nvs_image(identity, layout.nvs.size) if identity else None
        self._put(link, probe, make_plan(keys, layout, program, nvs, files), log, fits, wishes.name)
        self.half_keyed = False
        return wishes, keys

    def _parted(
        self, probe: Probe, own: dict[str, bytes], *, is_ours: bool
    ) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """The log that goes back on the board, and what is put aside first."""
        if self.request.erase:
            return {}, {}
        logs = self.town.logs
        return parted(logs.kept(probe.dev_eui), own, logs.asides(probe.dev_eui), is_ours=is_ours)

    def _put(self, link: Link, probe: Probe, plan: Plan, log: dict[str, bytes], fits: bool, name: str) -> None:
        """Write it, while the town keeps the log."""
        logs, dev_eui = self.town.logs, probe.dev_eui
        try:
            logs.keep(dev_eui, log)
            if plan.divides_anew(probe):
                logs.begun(dev_eui)
            link.write(plan, lambda: logs.begun(dev_eui))
        except BaseException:
            with contextlib.suppress(UserError):
                logs.drop(dev_eui)
            raise
        aside = None if fits else logs.put_aside(dev_eui)
        logs.forget(dev_eui)
        if aside:
            self.tell("log_aside", node=name, file=str(aside), why="no_room")

    def _compare_boards(self, board: Board, wished: Wishes | None, chip: str, flash_mb: int | None = None) -> None:
        """Another kind of board has other pins and another amplifier: not changed in passing. Raises UserError."""
        from spatz.boards import candidates

        if not self.request.board:
            return
        was = wished.board if wished else board.name
        if not self.request.strict:
            self.was_board = was if was != board.name else ""
            return
        if wished:
            if was != board.name:
                raise _other_kind(wished.name, was)
            return
        usb_id = self.port.usb_id if self.port.vid else None
        seen = None if flash_mb in board.module.other_flash_mb else flash_mb
        others = candidates(usb_id, chip, seen) or candidates(usb_id, chip) or candidates(None, chip, seen)
        if others and board.name not in [other.name for other in others]:
            raise _other_kind(self.port.device, " / ".join(other.name for other in others))

    def _own_files(self, link: Link, probe: Probe) -> tuple[Wishes | None, dict[str, bytes]]:
        """What a node that is there already says of itself, and its own log."""
        from spatz.images.filesystem import MANIFEST, FilesystemDamaged, read_filesystem
        from spatz.wishes import wishes_in

        layout = layout_on(probe)
        if layout is None or self.request.erase:
            return None, {}

        def read(at: int, size: int) -> bytes:
            return link.read(layout.vfs.offset + at, size)

        try:
            files = read_filesystem(read, layout.vfs.size, only=(MANIFEST, *LOG_FILES))
        except FilesystemDamaged:
            return None, {}
        log = log_in(files)
        try:
            return wishes_in(files[MANIFEST]), log
        except (KeyError, UserError):
            return None, log

    def _board_of(self, probe: Probe, wished: Wishes | None) -> str:
        """Which board it is: known, or the only one that it can be, or asked. Raises UserError."""
        from spatz.boards import candidates

        if wished is not None:
            return wished.board
        flash_mb = probe.flash_bytes >> 20 or None
        usb_id = self.port.usb_id if self.port.vid else None
        possible = candidates(usb_id, probe.chip, flash_mb) or candidates(None, probe.chip, flash_mb)
        if not possible:
            raise UserError(
                tr("No board that Funkspatz knows has this chip: {chip}.", chip=probe.chip),
                tr("See which it knows: spatz boards list"),
            )
        return possible[0].name if len(possible) == 1 else self.ask(possible)

    def _live(self, wishes: Wishes) -> None:
        from spatz.boards import load_board

        board = load_board(wishes.board)
        reset = board.bootloader.reset or "RST"

        def waiting(kind: str) -> None:
            what = leaving_boot(trouble(kind, reset=reset), [board])
            self.tell("waiting", kind=kind, message=what.message, next_step=what.next_step)

        life_s = self.request.life_s
        try:
            wait_for_life(self.port, wishes.name, life_s, waiting=waiting, reset=reset, gone=lambda: self.gone)
        except Trouble as error:
            raise leaving_boot(error, [board]) from None

    def _passed_on(self, message: dict[str, Any]) -> None:
        """What the worker says in between."""
        kind = message["t"]
        if kind == "progress":
            self.tell("progress", done=message["done"], total=message["total"])
        elif kind == "slower":
            self.tell("slower", baud=message["baud"])
        elif kind == "waiting":
            self._tell_waiting(message)

    def _likely(self) -> Board | None:
        """A board with the buttons that this one must have, to name them before anybody knows which it is."""
        from spatz.boards import candidates, load_board

        if self.request.board:
            return load_board(self.request.board)
        possible = candidates(self.port.usb_id if self.port.vid else None)
        return possible[0] if len({how_to_boot(one) for one in possible}) == 1 else None

    def _tell_waiting(self, message: dict[str, Any]) -> None:
        from spatz.flash.link import WorkerSaid
        from spatz.troubles import explain

        if message["kind"] == "port_gone":
            what = trouble("port_gone")
        else:
            what = explain(WorkerSaid(message["said"]), self.port, self._likely())
        what = while_waiting(what, self._likely())
        self.tell("waiting", kind=what.kind, message=what.message, next_step=what.next_step)


def _with_log(files: dict[str, bytes], log: dict[str, bytes], size: int) -> tuple[bytes, bool]:
    """The filesystem with the node's log in it, and True; without and False, should there be no room for both."""
    from spatz.images.filesystem import filesystem_image
    from spatz.troubles import Trouble

    try:
        return filesystem_image({**log, **files}, size), True
    except Trouble:
        if not log:
            raise
        return filesystem_image(files, size), False


_NOW_AND_AGAIN = ("port_gone", "stale", "unknown")  # kinds whose next step is to start again, for nothing is lost


def _half_keyed(error: UserError) -> UserError:
    """The same trouble of a board that may have half a key: it can be told of, but is no node yet."""
    from spatz.troubles import Trouble

    kind = error.kind if isinstance(error, Trouble) else ""
    if kind in _NOW_AND_AGAIN:
        next_step = tr("Pull the cable out, plug it in, flash it before you use it.")
    else:
        next_step = f"{error.next_step} {tr('Flash it again before use.')}"
    return Trouble(kind, error.message, next_step) if kind else UserError(error.message, next_step)


def _other_kind(who: str, board: str) -> UserError:
    return UserError(
        tr("{node} is a {board}.", node=who, board=board),
        tr("If it is to become another kind of board, flash it alone, by its port."),
    )


def _not_this_board(board: Board, probe: Probe) -> UserError:
    return UserError(
        tr("{board} has another chip than this board: {chip}.", board=board.title, chip=probe.chip),
        tr("Choose another: spatz boards list"),
    )
