"""What goes wrong at the cable: one short message that names the next physical action, in both languages."""

from __future__ import annotations

import errno
import re
import string
from collections.abc import Iterator
from os import strerror
from pathlib import Path

import pytest
import serial
from esptool.util import FatalError
from mpremote.transport import TransportError
from nest.i18n import language_of_locale, translate
from spatz.boards import list_boards, load_board
from spatz.flash.one import Event
from spatz.flash.show import sentence
from spatz.troubles import TROUBLES, Trouble, explain, how_to_boot, leaving_boot, trouble, while_waiting
from spatz.usb import BRIDGES, Port

MOST_WORDS = 25
LANGUAGES = ("en", "de")
BOARDS = list_boards()
LONGEST = {
    "device": "/dev/serial/by-id/usb-Silicon_Labs_CP2102_USB_to_UART_Bridge_Controller_0001-if00-port0",
    "group": "dialout",
    "command": "sudo dseditgroup -o edit -a $USER -t user dialout",
    "bridge": "ESP32-S3",
    "driver": max((bridge.driver for bridge in BRIDGES.values()), key=len),
    "reset": "the reset button",
    "boot": "BOOT",
    "file": "ESP32_GENERIC_S3-FLASH_4M-20260824-v1.29.0.bin",
    "why": "its checksum is not the expected one",
    "file_chip": "ESP32",
    "chip": "ESP32-S3",
    "build": "ESP32_GENERIC_S3",
    "board": "heltec-v3",
    "seconds": 60,
    "version": "v1.19.1-preview.123",
}
# what hands do at a workshop: the next step has one of them
ACTIONS = {
    "en": r"plug|pull|take|type|hold|press|close|choose|fetch|write|install|start|update",
    "de": r"steck|zieh|nimm|tippe|halt|drück|schließ|wähl|hol|schreib|spiel|installier|start|erneuer",
}
FORMAL = re.compile(r"\b(Sie|Ihr|Ihre|Ihnen|Ihren|bitte)\b")


def speak(language: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SPATZ_LANG", language)
    language_of_locale.cache_clear()
    return language


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    yield speak(request.param, monkeypatch)
    monkeypatch.undo()
    language_of_locale.cache_clear()


def words(of: Trouble) -> int:
    return len(f"{of.message} {of.next_step}".split())


def hows(language: str) -> list[str]:
    """How boards come into the boot loader: what may stand in {how}."""
    ways = {getattr(board.bootloader, f"how_{language}") for board in BOARDS}
    return [how_to_boot(None), *sorted(ways)]


@pytest.mark.parametrize("kind", TROUBLES)
def test_every_trouble_is_short_and_names_an_action(kind: str, language: str) -> None:
    for how in hows(language) if kind == "boot_mode" else ["-"]:
        shown = trouble(kind, **LONGEST, how=how)
        assert words(shown) <= MOST_WORDS, str(shown)
        assert re.search(ACTIONS[language], shown.next_step, re.IGNORECASE), shown.next_step
        assert not FORMAL.search(str(shown))
        assert "{" not in str(shown)


@pytest.mark.parametrize("kind", TROUBLES)
def test_while_it_waits_nobody_is_told_to_start_again_and_it_is_as_short(kind: str, language: str) -> None:
    """What stands at the terminal then, with the line that it goes on."""
    fields = {**LONGEST, "why": "one two three four five six seven eight"}
    for board in (None, *BOARDS):
        told = while_waiting(leaving_boot(trouble(kind, **fields, how=how_to_boot(board)), [board or BOARDS[0]]), board)
        event = Event(
            Port("COM7", None, None), "waiting", {"kind": kind, "message": told.message, "next_step": told.next_step}
        )
        shown = sentence(event).removeprefix("COM7: ").replace("\n  →", "")
        assert len(shown.split()) <= MOST_WORDS, shown
        assert re.search(ACTIONS[language], told.next_step, re.IGNORECASE), shown
        if len(shown.splitlines()) > 1:
            assert not re.search(r"start (again|once more)|start(e|en)? noch einmal", shown, re.IGNORECASE), shown


@pytest.mark.parametrize("kind", ["boot_mode", "port_gone", "stale", "unknown", "no_restart"])
def test_what_hands_mend_goes_on_by_itself(kind: str, language: str) -> None:
    told = while_waiting(trouble(kind, **LONGEST, how=how_to_boot(None)), None)
    event = Event(
        Port("COM7", None, None), "waiting", {"kind": kind, "message": told.message, "next_step": told.next_step}
    )
    assert sentence(event).endswith({"en": "\n  It goes on then.", "de": "\n  Dann geht es weiter."}[language])


@pytest.mark.parametrize("kind", ["no_restart", "boot_loader"])
def test_a_wire_is_taken_off_before_reset_is_pressed(kind: str, language: str) -> None:
    wired = [load_board(name) for name in ("rak11200", "rak3312")]
    step = {
        "en": "Take the wire off BOOT0, then press RESET once.",
        "de": "Nimm den Draht von BOOT0, dann drücke einmal RESET.",
    }[language]
    for board in wired:
        assert leaving_boot(trouble(kind, reset="RST"), [board]).next_step == step
    assert leaving_boot(trouble(kind, reset="RST"), wired).next_step == step
    button = leaving_boot(trouble(kind, reset="?"), [load_board("xiao-s3-wio")])
    assert button.next_step == trouble(kind, reset="R").next_step
    unknown = leaving_boot(trouble(kind, reset="RST"), [wired[0], load_board("esp32-rfm95w")])
    assert "BOOT0" in unknown.next_step  # either of them
    assert "RST" not in unknown.next_step
    assert words(unknown) <= MOST_WORDS
    assert leaving_boot(trouble(kind, reset="RST"), []).next_step == trouble(kind, reset="RST").next_step
    other = trouble("no_life", reset="RESET")
    assert leaving_boot(other, wired) is other


@pytest.mark.parametrize("kind", TROUBLES)
def test_every_trouble_is_there_in_german_with_the_same_fields(kind: str) -> None:
    for english in TROUBLES[kind]:
        german = translate(english, "de")
        assert german != english or english == "{how}"
        assert fields(german) == fields(english)


def fields(text: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def opening(number: int, device: str = "/dev/ttyUSB0") -> serial.SerialException:
    """As pyserial raises it on Linux and macOS."""
    return serial.SerialException(
        number, f"could not open port {device}: [Errno {number}] {strerror(number)}: '{device}'"
    )


def on_windows(said: str) -> serial.SerialException:
    return serial.SerialException(f"could not open port 'COM7': {said}")


def connecting(said: str) -> FatalError:
    return FatalError(f"Failed to connect to ESP32-S3: {said}\nFor troubleshooting steps visit: https://…")


SAID = [
    # esptool
    (connecting("No serial data received."), "boot_mode"),
    (connecting("Wrong boot mode detected (0x8)! The chip needs to be in download mode."), "boot_mode"),
    (connecting("Invalid head of packet (0x08): Possible serial noise or corruption."), "stale"),
    (
        connecting("Invalid head of packet (0x69): Possible serial noise or corruption."),
        "boot_mode",
    ),  # "invalid header"
    (connecting("Download mode successfully detected, but getting no sync reply: The serial TX path …"), "stale"),
    (FatalError("Failed to start stub flasher. There was no response.\nFor …"), "stale"),
    (FatalError("No serial data received."), "boot_mode"),
    (FatalError("The chip stopped responding."), "boot_mode"),
    (FatalError("Invalid head of packet (0xE0): Possible serial noise or corruption."), "bad_cable"),
    (FatalError("Serial data stream stopped: Possible serial noise or corruption."), "bad_cable"),
    (FatalError("Packet content transfer stopped (received 8 bytes)."), "bad_cable"),
    (FatalError("MD5 of file does not match data in flash!"), "bad_cable"),
    (FatalError("Write failed, the written flash region is empty."), "bad_cable"),
    (FatalError("Failed to write compressed data to flash (result was C100: Bad data checksum)"), "bad_cable"),
    (FatalError("Corrupt data, expected 0x1000 bytes but received 0xfff bytes"), "bad_cable"),
    (FatalError("Failed to set baud rate 921600. The driver may not support this rate."), "bad_cable"),
    (FatalError("Unexpected chip magic value 0x00000009. Failed to autodetect chip type.\nProbably …"), "old_tool"),
    (
        FatalError("'boot.bin' requires chip revision 3 or higher (this chip is revision 1). Use --force …"),
        "old_tool",
    ),
    (FatalError("This command (0x8) is not supported in Secure Download Mode"), "locked"),
    (FatalError("File 'x' (length 9) at offset 0x00010000 will not fit in 8 bytes of flash. Change …"), "flash_full"),
    (FatalError("This chip is ESP32-S3, not ESP32. Wrong chip argument?"), "boot_loop"),
    (
        FatalError(f"Could not open /dev/ttyACM0, the port is busy or doesn't exist.\n({opening(errno.EBUSY)})\n"),
        "busy_port",
    ),
    (FatalError(f"Could not open COM7, the port is busy or doesn't exist.\n({opening(errno.ENOENT)})"), "port_gone"),
    # pyserial
    (opening(errno.ENOENT), "port_gone"),
    (opening(errno.EBUSY), "busy_port"),
    (opening(errno.ENODEV), "port_gone"),
    (opening(errno.EIO), "port_gone"),
    (serial.SerialException("read failed: [Errno 5] Input/output error"), "port_gone"),
    (serial.SerialException("write failed: [Errno 6] Device not configured"), "port_gone"),
    (
        serial.SerialException(
            errno.EAGAIN,
            "Could not exclusively lock port /dev/ttyUSB0: [Errno 11] Resource temporarily unavailable",
        ),
        "busy_port",
    ),
    (serial.SerialTimeoutException("Write timeout"), "stale"),
    (on_windows("PermissionError(13, 'Access is denied.', None, 5)"), "busy_port"),
    (on_windows("PermissionError(13, 'Zugriff verweigert', None, 5)"), "busy_port"),
    (on_windows("FileNotFoundError(2, 'The system cannot find the file specified.', None, 2)"), "port_gone"),
    (on_windows("PermissionError(31, 'A device attached to the system is not functioning.', None, 31)"), "port_gone"),
    (
        serial.SerialException("ClearCommError failed (PermissionError(13, 'The device …', None, 22))"),
        "port_gone",
    ),
    # mpremote
    (TransportError("could not enter raw repl"), "no_repl"),
    (TransportError("timeout waiting for first EOF reception"), "no_repl"),
    (TransportError("failed to access /nowhere/ttyUSB0"), "port_gone"),
    (Exception("timeout waiting for remote"), "no_repl"),
    (OSError(errno.ENOSPC, "No space left on device"), "board_full"),
    # nobody has foreseen it
    (RuntimeError("the sky\x1b[31m is falling: " + "very " * 40), "unknown"),
]


@pytest.mark.parametrize(("error", "kind"), SAID, ids=lambda value: str(value)[:40])
def test_what_others_say_becomes_one_of_ours(error: Exception, kind: str, language: str) -> None:
    shown = explain(error, Port("/nowhere/ttyUSB0", 0x10C4, 0xEA60))
    assert shown.kind == kind
    assert words(shown) <= MOST_WORDS, str(shown)
    assert str(shown).isprintable() or "\n" in str(shown)
    assert "\x1b" not in str(shown)
    assert len(str(shown).splitlines()) == 2


def test_the_buttons_are_called_as_they_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    speak("de", monkeypatch)
    board = load_board("heltec-v3")
    shown = explain(connecting("No serial data received."), None, board)
    assert shown.next_step == board.bootloader.how_de
    assert "PRG" in shown.next_step
    speak("en", monkeypatch)
    assert explain(TransportError("could not enter raw repl"), None, board, seconds=90).next_step == (
        "Press RST once; then you have 90 seconds. Start again."
    )


def test_a_trouble_stays_what_it_is() -> None:
    known = trouble("no_board")
    assert explain(known) is known


def denied(device: Path) -> Trouble:
    return explain(opening(errno.EACCES, str(device)), Port(str(device), 0x10C4, 0xEA60))


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "ttyUSB0"
    path.touch(mode=0o660)
    path.chmod(0o660)
    return path


@pytest.mark.parametrize("group", ["dialout", "uucp"])
def test_linux_the_group_that_owns_the_device_and_the_one_command(
    device: Path, group: str, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(Path, "group", lambda _self: group)
    shown = denied(device)
    assert shown.kind == "no_permission"
    assert shown.next_step.endswith(f" sudo usermod -aG {group} $USER")
    assert group in shown.message
    assert words(shown) <= MOST_WORDS


def test_macos_has_another_command(device: Path, monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(Path, "group", lambda _self: "wheel")
    shown = denied(device)
    assert shown.next_step.endswith(" sudo dseditgroup -o edit -a $USER -t user wheel")
    assert words(shown) <= MOST_WORDS


def test_a_group_that_may_not_open_it_either_is_no_help(device: Path, language: str) -> None:
    device.chmod(0o000)
    shown = denied(device)
    assert shown.kind == "no_entry"
    assert shown.next_step.endswith(f" sudo chmod a+rw {device}")


def test_where_there_are_no_groups(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_self: Path) -> str:
        raise NotImplementedError

    monkeypatch.setattr(Path, "group", none)
    assert "dialout" in denied(device).next_step
