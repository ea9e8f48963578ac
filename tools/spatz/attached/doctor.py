"""`spatz doctor`: what ails a node, part by part, from the cable to the next frame.

Each check ends in one line, and one that is not well in one thing to do. The node's own program is asked for its parts
(`snippets_doctor`), so what it finds is what the node will find; afterwards the node runs as before.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nest.errors import UserError
from nest.i18n import language_of_locale, tr
from nest.logs import printable

from spatz.attached import snippets_doctor as ask
from spatz.attached import update
from spatz.attached.firmware_words import in_words
from spatz.attached.repl import WAIT_S, NodeError, Repl, Say, attach, silent
from spatz.attached.select import board_at, describe
from spatz.images.filesystem import firmware_version
from spatz.labels.shortcode import short_code
from spatz.troubles import explain, trouble
from spatz.usb import Port

OK, WRONG, NOTE = "ok", "wrong", "note"
_SENSORS_S = 150.0  # a fine dust sensor blows for half a minute first
_LOW = 26  # of 254: a tenth of the battery


@dataclass(frozen=True, slots=True)
class Check:
    """One line. key: for programs; state: "ok", "wrong", or "note" for what may be so; next_step: "" for nothing."""

    key: str
    title: str
    state: str
    detail: str
    next_step: str = ""

    def to_json(self) -> dict[str, str]:
        """For programs."""
        return {"check": self.key, "state": self.state, "detail": self.detail, "next_step": self.next_step}


def diagnose(port: Port, town: Path | None = None, *, say: Say = silent, wait_s: float = WAIT_S) -> Iterator[Check]:
    """The checks of a board at a port, as they are done. Raises nothing that people meet: a Trouble is a check, too."""
    yield Check("usb", tr("USB"), OK, describe(port))
    try:
        with attach(port, say=say, board=board_at(port), wait_s=wait_s) as repl:
            yield Check("prompt", tr("Prompt"), OK, tr("it answers"))
            yield from _at_the_prompt(repl, town)
    except NodeError as error:  # what it has on it is broken in a way that no check foresees
        yield _wrong("prompt", tr("Prompt"), error.message, tr("Set it up again: spatz flash. It keeps its key."))
    except UserError as error:
        yield failed("prompt", tr("Prompt"), error)
    except Exception as error:  # an answer that no node of ours gives
        yield failed("prompt", tr("Prompt"), explain(error, port))


def failed(key: str, title: str, error: UserError) -> Check:
    """A check that ended in an error for people."""
    return Check(key, title, WRONG, error.message, error.next_step)


def _at_the_prompt(repl: Repl, town: Path | None) -> Iterator[Check]:
    build = repl.ask(ask.BUILD)
    there = update.look(repl)
    said = repl.ask(ask.PROGRAM)
    yield _micropython(build, there)
    files = _files(there)
    yield files
    yield _settings(said)
    yield _identity(said)
    if town and said.get("dev_eui"):
        yield _town(repl, said["dev_eui"], town)
    if said.get("hardware_error"):
        which = tr("Say which board it is: spatz flash --board …")
        mend = files.next_step if files.state == WRONG else which
        yield _wrong("radio", tr("Radio"), in_words(said["hardware_error"]), mend)
    elif not said.get("config_error"):
        yield _radio(repl.ask(ask.RADIO))
        measured = repl.ask(ask.SENSORS, _SENSORS_S)
        yield from _sensors(measured, _wires(there))
        yield _battery(measured)
        if not said.get("identity_error"):
            yield _network(repl.ask(ask.AIR))


def _wrong(key: str, title: str, detail: str, next_step: str) -> Check:
    return Check(key, title, WRONG, detail, next_step)


def _micropython(build: Mapping[str, Any], there: update.There) -> Check:
    from spatz.boards import load_board
    from spatz.images.filesystem import firmware_files

    title = "MicroPython"
    detail = printable(" ".join(str(part) for part in (build["version"], build["build"] or build["machine"]) if part))
    rewrite = tr("Write the right one: spatz flash. The node keeps its key.")
    try:
        update.check(firmware_files(), there)
    except UserError as error:
        return failed("micropython", title, error)
    if there.wishes:
        board = load_board(there.wishes.board)
        chip = build["machine"].upper().replace("-", "").rpartition(" ")[2]
        if chip.startswith("ESP32") and chip.lower() != board.module.chip:
            return _wrong(
                "micropython", title, tr("{found} does not fit a {board}", found=detail, board=board.title), rewrite
            )
        if build["build"].startswith("ESP32") and build["build"] != board.micropython.build:
            wanted = board.micropython.build
            return Check(
                "micropython", title, NOTE, tr("{found}, meant is {wanted}", found=detail, wanted=wanted), rewrite
            )
    return Check("micropython", title, OK, detail)


def _files(there: update.There) -> Check:
    title, mend = tr("Files"), tr("Bring them back: spatz update")
    if not there.manifest:
        return _wrong(
            "files",
            title,
            tr("the list of files is missing or damaged"),
            tr("Set it up again: spatz flash. It keeps its key."),
        )
    bad = sorted(path for path, digest in there.manifest.items() if there.files.get(path) != digest)
    if bad:
        return _wrong("files", title, tr("missing or damaged: {files}", files=_some(bad)), mend)
    if there.firmware != firmware_version():
        detail = tr(
            "all {count} whole, version {version}; this computer has {other}",
            count=len(there.manifest),
            version=there.firmware,
            other=firmware_version(),
        )
        return Check("files", title, NOTE, detail, tr("Bring it up to date: spatz update"))
    return Check(
        "files",
        title,
        OK,
        tr("all {count} whole, version {version}", count=len(there.manifest), version=there.firmware),
    )


def _some(paths: list[str]) -> str:
    more = tr("and {count} more", count=len(paths) - 3) if len(paths) > 3 else ""
    return printable(", ".join([*paths[:3], *filter(None, [more])]))


def _settings(said: Mapping[str, Any]) -> Check:
    title = tr("Settings")
    if said.get("config_error"):
        return _wrong("config", title, in_words(said["config_error"]), tr("Bring them back: spatz update"))
    detail = tr(
        "{name}, a {board}, measures every {seconds} s",
        name=said["name"],
        board=said["board"],
        seconds=said["interval_s"],
    )
    return Check("config", title, OK, printable(detail))


def _identity(said: Mapping[str, Any]) -> Check:
    title = tr("Identity")
    if said.get("identity_error"):
        return _wrong("identity", title, in_words(said["identity_error"]), tr("Give it one: spatz flash"))
    dev_eui = said["dev_eui"]
    return Check("identity", title, OK, f"{dev_eui} ({short_code(bytes.fromhex(dev_eui))})")


def _town(repl: Repl, dev_eui: str, town: Path) -> Check:
    from spatz.attached import town as library

    title = tr("Town")
    try:
        known = library.find(town, dev_eui)
        if known is None:
            return _wrong(
                "town", title, tr("the nest does not know this node"), tr("Make it one of the town's: spatz flash")
            )
        mark = repl.ask(ask.MARK)
        if not hmac.compare_digest(bytes.fromhex(mark), library.key_mark(town, dev_eui)):
            return failed("town", title, trouble("keys"))
    except UserError as error:
        return failed("town", title, error)
    return Check("town", title, OK, tr("known as {name}, with the same key", name=known.slug))


def _radio(said: Mapping[str, Any]) -> Check:
    if said.get("error"):
        return _wrong("radio", tr("Radio"), in_words(said["error"]), tr("Say which board it is: spatz flash --board …"))
    return Check("radio", tr("Radio"), OK, tr("{chip} answers", chip=said["driver"]))


def _wires(there: update.There) -> list[str]:
    """Where the wires of each sensor go, as `wires_of`; [] when nobody knows."""
    from spatz.boards import load_board
    from spatz.wires import wires_of

    if not there.wishes:
        return []
    try:
        return [wires for _, wires in wires_of(load_board(there.wishes.board), there.wishes.sensors)]
    except UserError:  # of another version's catalogue
        return []


def _look(wires: list[str], at: int) -> str:
    """What to do about the sensor at this place; those that were found by themselves come last."""
    if not wires:
        return tr("Check its wires, then start again.")
    return tr("Check its wires: {wires}. Then start again.", wires=wires[min(at, len(wires) - 1)])


def _sensors(said: Mapping[str, Any], wires: list[str]) -> Iterator[Check]:
    title = tr("Sensor")
    if said.get("error"):
        yield _wrong("sensors", title, in_words(said["error"]), tr("Bring it up to date: spatz update"))
        return
    reading = said["reading"]
    for at, (driver, quantities) in enumerate(said["sensors"]):
        values = {name: reading[name] for name in quantities if name in reading}
        if not values:  # another sensor measures all that it could
            yield Check("sensors", title, OK, printable(driver))
        elif all(isinstance(value, str) for value in values.values()):
            yield _wrong("sensors", title, tr("{name} does not answer", name=printable(driver)), _look(wires, at))
        else:
            yield Check(
                "sensors", title, OK, printable(f"{driver}: {', '.join(_value(*pair) for pair in values.items())}")
            )
    if not said["sensors"]:
        if said["looked_for"]:
            names = printable(", ".join(dict.fromkeys(said["looked_for"])))
            look = f"{_look(wires, 0)} {tr('Has it no sensor? spatz update --sensor none')}"
            yield _wrong("sensors", title, tr("none was found of {names}", names=names), look)
        else:
            yield Check("sensors", title, OK, tr("none is wished for"))


def _value(name: str, value: float | str) -> str:
    from nest.quantities import by_name

    quantity = by_name().get(name)
    label = name if quantity is None else quantity.label_de if language_of_locale() == "de" else quantity.label_en
    if isinstance(value, str):
        return f"{label} {tr(value)}"
    return f"{label} {value:.4g} {quantity.unit if quantity else ''}".rstrip()


def _battery(said: Mapping[str, Any]) -> Check:
    title = tr("Battery")
    volts = said.get("reading", {}).get("battery")
    level = said.get("level", 255)
    if volts is None:
        return Check("battery", title, NOTE, tr("this board cannot measure it"))
    if isinstance(volts, str):
        return _wrong("battery", title, tr("it cannot be measured"), tr("Say which board it is: spatz flash --board …"))
    text = f"{volts:.2f} V"
    if said.get("charging") or not 1 <= level <= 254:
        return Check("battery", title, OK, tr("{volts}, fed by USB", volts=text) if said.get("charging") else text)
    detail = f"{text}, {round(level / 2.54)} %"
    if level < _LOW:
        return _wrong("battery", title, detail, tr("Charge it, or take a full one."))
    return Check("battery", title, OK, detail)


def _network(said: Mapping[str, Any]) -> Check:
    title = tr("Network")
    if said.get("error"):
        return _wrong("network", title, in_words(said["error"]), tr("Bring it up to date: spatz update"))
    values = {"ms": said["airtime_ms"], "sf": said["sf"], "bytes": said["bytes"]}
    if said["joined"]:
        detail = tr("it has joined; its next frame: {bytes} bytes, {ms} ms on air (SF{sf})", **values)
        return Check("network", title, OK, detail)
    detail = tr("it has not joined yet; its request takes {ms} ms on air (SF{sf})", **values)
    return Check("network", title, NOTE, detail, tr("Is a gateway near and running? nest status"))
