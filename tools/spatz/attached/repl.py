"""A node's prompt over USB, by mpremote: interrupt its program, run snippets on it, let it run again.

A node spends its life asleep or in main.py. Ctrl-C ends the program at any moment that it is awake; asleep it hears
nothing. So whoever attaches tries Ctrl-C first, then the reset line of the cable where the board has one, and then
asks the person to press the button, and goes on by itself when the node is there.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from nest.errors import UserError
from nest.i18n import tr
from nest.logs import printable

from spatz import usb
from spatz.attached import answers, signals, snippets
from spatz.troubles import Trouble, explain, leaving_boot, trouble
from spatz.usb import Port

if TYPE_CHECKING:
    from spatz.boards import Board

BAUD = 115_200
WAIT_S = 60.0  # for a person to press a button
SAFE_WINDOW_S = 60  # of a node that does not say its own
_PATIENCE_S = 4.0  # of tries with Ctrl-C, before the reset line and the person are bothered
_LOOK_S = 0.01
_TRY_S = 0.8  # for one answer to Ctrl-C, Ctrl-A
_START_S = 3.0  # of the node's program
_MOUNTS = 2
_SETTLE_S = 0.05
_STUCK_S = 2.0  # of silence in the middle of an answer, or of a port that takes no more bytes: a full one needs 0.4
_LAST_S = 0.5  # for such a port at the end, when nobody wants to wait any more
_PROMPT_S = 4.0  # and for the other words of the raw REPL that mpremote waits for
_FIND_S = 0.5  # at a time, for a port that has gone
_CHATTER_S = 2.0  # of a board that prints on and on where it should be silent
_BANNER = b"raw REPL; CTRL-B to exit\r\n"
ALIVE = "Funkspatz node "
_NO_ROOM = re.compile(r"OSError: (\[Errno )?28\b")  # MicroPython has its own way to print an OSError
_STARTED = b"rst:0x"  # the ROM's first words
_STARTS = 4  # in a row: a node that starts again and again
_SAYS = {b"waiting for download": "boot_loader", b"invalid header": "no_micropython"}  # the ROM, without a program

Say = Callable[[str], None]


def silent(_text: str) -> None:
    """For those who do not want to hear of progress."""


def _takes_nothing(error: Exception) -> bool:
    """Whether it says that the port takes no more bytes: the chip hangs, or nobody reads on the other side."""
    from serial import SerialTimeoutException

    return isinstance(error, SerialTimeoutException)


class NodeError(UserError):
    """A snippet ended with an exception on the node. `traceback`: what MicroPython printed."""

    def __init__(self, traceback: str) -> None:
        lines = traceback.strip().splitlines()
        self.traceback = traceback
        self.said = printable(lines[-1]) if lines else ""
        super().__init__(tr("The node says: {error}", error=self.said), tr("Look at it: spatz doctor"))


class Repl:
    """The raw REPL of one node, while `attach` holds it."""

    def __init__(
        self,
        port: Port,
        board: Board | None = None,
        safe_window_s: int = SAFE_WINDOW_S,
        *,
        may_reset: bool = True,
        ending: threading.Event | None = None,
    ) -> None:
        self.port = port
        self.board = board
        self.safe_window_s = safe_window_s
        self._may_reset = may_reset
        self._ending = ending or threading.Event()
        self._transport: Any = None
        self._disturbed = False  # something was written that may have interrupted its program
        self._inside = False  # at the prompt
        self._busy = False  # a script is running

    @property
    def listens(self) -> bool:
        """Whether it is at the prompt and waits for a script."""
        return self._inside and not self._busy

    def run(self, script: str, within_s: float = 30.0) -> str:
        """What a script prints. within_s: longest silence; it may speak for twice as long.

        Raises:
            NodeError: the script ended with an exception.
            Trouble: the cable or the node is not there any more.
        """
        with self.explained():
            self._busy = True
            self._transport.exec_raw_no_follow(script)
            printed, error = self._answer(within_s)
            self._busy = False
        if error:
            if _NO_ROOM.search(error):
                raise trouble("board_full")
            raise NodeError(error)
        return printed

    def ask(self, script: str, within_s: float = 30.0, **given: object) -> Any:
        """The JSON in the last line that a script prints, as the script promises it (`answers`). given: names with
        plain values that the script begins with.

        Raises as `run`.
        """
        head = "".join(f"{name} = {value!r}\n" for name, value in given.items())
        lines = self.run(head + script, within_s).strip().splitlines()
        try:
            said = json.loads(lines[-1])
        except (ValueError, IndexError):
            raise trouble("bad_cable") from None
        except RecursionError:  # deeper than anything that a snippet prints
            raise answers.strange() from None
        return answers.checked(script, said)

    def _answer(self, within_s: float) -> tuple[str, str]:
        """What came before the two ends of an answer (the raw REPL's 0x04): output, and traceback."""
        return self._part(within_s), self._part(within_s)

    def _part(self, within_s: float) -> str:
        """Byte by byte: what follows is the prompt, which mpremote wants to read itself."""
        serial = self._transport.serial
        data = bytearray()
        until = time.monotonic() + within_s
        at_most = time.monotonic() + 2 * within_s
        while not data.endswith(b"\x04"):
            self._go_on()
            if time.monotonic() >= at_most:
                raise self.no_answer()
            if serial.in_waiting:
                data += serial.read(1)
                until = time.monotonic() + within_s
            elif time.monotonic() >= until:
                raise self.no_answer()
            else:
                time.sleep(_LOOK_S / 4)
        return data[:-1].decode("utf-8", "replace")

    def no_answer(self) -> Trouble:
        """The node does not answer: which button, and how long it is reachable then."""
        return explain(RuntimeError("raw repl"), self.port, self.board, seconds=self.safe_window_s)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """What pyserial, mpremote and the system raise becomes a Trouble."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if _takes_nothing(error):
                raise self.no_answer() from error
            found = explain(error, self.port, self.board, seconds=self.safe_window_s)
            if found.kind == "busy_port" and self._transport:  # nobody else could have taken it: it has gone
                found = trouble("port_gone")
            raise found from error

    # --- how it is entered and left ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the port. Raises Trouble."""
        from mpremote.transport_serial import SerialTransport, TransportError
        from serial import serial_for_url

        with self.explained():
            try:
                self._transport = SerialTransport(self.port.device, BAUD, timeout=_STUCK_S)
                self._transport.serial.write_timeout = _STUCK_S  # mpremote would wait for ever
            except (TransportError, OSError):
                self.close()
                serial_for_url(self.port.device, BAUD, exclusive=True).close()  # says why
                raise
            self._transport.read_until = self._expected

    def close(self) -> None:
        """Let go of the port, whatever state it is in."""
        transport, self._transport = self._transport, None
        if transport:
            with contextlib.suppress(Exception):  # pyserial raises several kinds for a port that has gone
                transport.serial.reset_output_buffer()  # Linux would wait half a minute for what a port does not take
            with contextlib.suppress(Exception):
                transport.close()

    def _expected(self, _count: int, ending: bytes, **_: object) -> bytes:
        """Instead of mpremote's `read_until`, which waits for ever for a board that prints on and on, and has what
        came instead printed where --json stands. Raises Trouble."""
        data = self.heard(_PROMPT_S, ending)
        if not data.endswith(ending):
            raise self.no_answer()
        return data

    def heard(self, for_s: float, until: bytes = b"") -> bytes:
        """What comes within `for_s`, or up to `until` and not a byte more."""
        serial = self._transport.serial
        data = bytearray()
        end = time.monotonic() + for_s
        while time.monotonic() < end:
            if not serial.in_waiting:
                time.sleep(_LOOK_S)
                continue
            data += serial.read(1)
            if until and data.endswith(until):
                break
        return bytes(data)

    def enter(self, say: Say, wait_s: float) -> None:
        """Into the raw REPL, with more and more force. Raises Trouble."""
        self._reach(say, wait_s)
        for tries_left in reversed(range(_MOUNTS)):
            try:
                there = self.ask(snippets.COUNT)
            except (NodeError, Trouble) as error:  # a Ctrl-C that was noticed late may have ended this one
                if not tries_left or getattr(error, "kind", "") not in ("", self.no_answer().kind):
                    raise
                self._busy = False
                self._reach(say, wait_s)
                continue
            if there:
                return
            self.restart()  # interrupted before its filesystem was there
            self.first_lines(_START_S)
            self._reach(say, wait_s)

    def _reach(self, say: Say, wait_s: float) -> None:
        if self._reached(_PATIENCE_S) or (self._press_reset() and self._reached(_PATIENCE_S)):
            return
        say(tr("The node does not answer. Press {reset} once; this goes on by itself.", reset=self.reset_button))
        if not self._reached(wait_s):
            raise self.no_answer()

    def _go_on(self) -> None:
        """In a thread of a program that is being ended: as Ctrl-C in the main one, so that the node is let go."""
        if self._ending.is_set():
            raise KeyboardInterrupt

    @property
    def reset_button(self) -> str:
        """What is printed beside it."""
        return (self.board.bootloader.reset if self.board else "") or "RST"

    def _reached(self, for_s: float) -> bool:
        """Whether it can be interrupted within that time. Raises Trouble for what no button mends."""
        end = time.monotonic() + for_s
        starts = 0
        while True:
            self._go_on()
            heard = self._interrupt_wherever(end)
            if heard is None:
                return True
            starts += heard.count(_STARTED)
            if starts > _STARTS:
                raise trouble("boot_loop")
            for words, kind in _SAYS.items():
                if words in heard:
                    from spatz.boards import candidates

                    boards = [self.board] if self.board else candidates(self.port.usb_id)
                    raise leaving_boot(trouble(kind, reset=self.reset_button), boards)
            if time.monotonic() >= end:
                return False

    def _interrupt_wherever(self, end: float) -> bytes | None:
        """As `_interrupt`. The port of a chip with its own USB goes while it sleeps: then it is looked for."""
        try:
            if self._transport is None:
                self._find_again(min(end - time.monotonic(), _FIND_S))
            return self._interrupt() if self._transport else b""
        except (OSError, Trouble) as error:
            if _takes_nothing(error):  # as good as asleep
                return b""
            if not self._is_native:
                raise
            self.close()
            time.sleep(_LOOK_S)
            return b""

    def _interrupt(self) -> bytes | None:
        """Once Ctrl-C and Ctrl-A: None when the raw REPL is there, else what was heard instead."""
        serial = self._transport.serial
        self._disturbed = True
        serial.write(b"\r\x03")
        data = self.heard(_SETTLE_S)
        serial.write(b"\r\x01")
        data += self.heard(_TRY_S, _BANNER)
        if not data.endswith(_BANNER):
            return data
        end = time.monotonic() + _CHATTER_S
        while self.heard(_SETTLE_S):  # what was typed in vain before, while the node was busy, is answered now
            if time.monotonic() >= end:
                return data
        serial.write(b"\x01")
        if not self.heard(_TRY_S, _BANNER).endswith(_BANNER):
            return data
        self._inside, self._busy = True, False
        return None

    def _press_reset(self) -> bool:
        """Reset the chip by the cable, as esptool does; False where the cable cannot, or shall not."""
        if not self._may_reset or self._transport is None or self._is_native:
            return False
        serial = self._transport.serial
        try:
            serial.dtr = False  # IO0 high: a normal start
            serial.rts = True
            time.sleep(0.1)
            serial.rts = False
            time.sleep(_SETTLE_S)  # IO0 is read now; then both as they are when a port is opened:
            serial.dtr = True  # some devices are silent without it
            serial.rts = True
        except OSError:
            return False
        self._disturbed = False
        return True

    def restart(self) -> None:
        """Begin the node's program anew, as its reset button does; nothing when it was not disturbed."""
        if not (self._inside or self._disturbed):
            return
        there = self._inside
        with contextlib.suppress(Exception):  # it may be gone: then it starts by itself
            self._transport.serial.write_timeout = _LAST_S
            if self._busy or not there:  # one more try: Ctrl-C may have reached it unseen
                there = self._interrupt() is None or there
            if there:
                self._transport.exec_raw_no_follow(snippets.RESTART)
            self._transport.serial.write_timeout = _STUCK_S
        self._inside = self._disturbed = self._busy = False

    def first_lines(self, within_s: float) -> list[str]:
        """After `restart`: what the node says until it has said its name, or as much as it says in that time. On a
        chip with its own USB the port goes meanwhile and comes back."""
        data = b""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            self._go_on()
            try:
                if self._transport is None:
                    self._find_again(min(end - time.monotonic(), _FIND_S))
                if self._transport is None:
                    continue
                data += self.heard(0.1)
            except (OSError, UserError):
                self.close()
                time.sleep(_LOOK_S)
            at = data.find(ALIVE.encode())
            if at >= 0 and b"\n" in data[at:]:
                break
        return data.decode("utf-8", "replace").splitlines()

    @property
    def _is_native(self) -> bool:
        """Whether the chip has its own USB: its port goes while it sleeps, and no line of it is the reset."""
        return bool(self.port.bridge and self.port.bridge.native)

    def _find_again(self, within_s: float) -> None:
        found = usb.find(self.port.key, within_s)
        if found:
            self.port = found
            self.open()


@contextlib.contextmanager
def attach(
    port: Port,
    *,
    say: Say = silent,
    board: Board | None = None,
    safe_window_s: int = SAFE_WINDOW_S,
    wait_s: float = WAIT_S,
    may_reset: bool = True,
    ending: threading.Event | None = None,
) -> Iterator[Repl]:
    """A node's prompt. At the end the node runs again, whatever happened: also when the program is ended meanwhile.

    Args:
        port: where it is.
        say: is told in one sentence when a person has to press a button.
        board: what it is, if that is known: its button is called by its name.
        safe_window_s: how long the node can be reached after a press of that button.
        wait_s: how long to wait for the press.
        may_reset: whether the cable may reset a node that does not answer.
        ending: in a thread, where no Ctrl-C arrives: once it is set, whatever waits for the node raises
            KeyboardInterrupt.

    Raises:
        Trouble: port busy, not allowed, gone; the node does not answer.
    """
    repl = Repl(port, board, safe_window_s, may_reset=may_reset, ending=ending)
    with signals.as_interrupt():
        repl.open()
        try:
            with repl.explained():
                repl.enter(say, wait_s)
            yield repl
        finally:
            with signals.put_off():
                repl.restart()
                repl.close()
