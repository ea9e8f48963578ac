"""One UTC day of one node as a CSV file (RFC 4180), and back. Pure, and exact both ways: `parse` takes nothing but what
`render` has written, byte for byte, so a file that was changed by hand is never taken for the archive's own.

    time,received,origin,session,fcnt,part,temperature,humidity,quality,flags

- `time`: of measuring; `received`: when the frame that brought it was heard, empty where no frame did (ISO 8601, UTC).
- `origin`: heard, recovered, backfilled, other (another source); or missing: a reading that the node has made and that
  nobody has. Only such a row has `session` (JoinNonce), `fcnt` and `part`, and an estimated `time`.
- a column for each quantity that the node has measured that day, in its unit; empty: not measured, or see `quality`.
- `quality`: `humidity:failed` (the sensor did not deliver), `humidity:out_of_range`; several with a space between.
- `flags`: `temperature:spike`, `temperature:stuck`, `temperature:neighbours` (nest.archive.days_flags), the same way.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from nest import payload
from nest.archive import codes, schema
from nest.quantities import Quantity, by_name
from nest.town import SLUG

BEFORE = ("time", "received", "origin", "session", "fcnt", "part")
BEHIND = ("quality", "flags")
MISSING = "missing"
FLAG_NAMES = {schema.SPIKE: "spike", schema.STUCK: "stuck", schema.NEIGHBOURS: "neighbours"}

_END = "\r\n"
_EPOCH = datetime.date(1970, 1, 1)
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{3})Z")
_MOST = (0xFFFFFF, 0xFFFFFFFF, 0xFF)  # JoinNonce, FCnt, part
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # of the years 1 to 9999


class Reading(NamedTuple):
    """A reading. Times are Unix ms."""

    time: int
    origin: int  # schema.HEARD …
    delay_ms: int | None
    codes: bytes  # as nest.archive.codes


class Missing(NamedTuple):
    """A reading that is not there."""

    time: int  # estimated, Unix ms
    join_nonce: int
    fcnt: int
    part: int


@dataclasses.dataclass(frozen=True, slots=True)
class Day:
    """Everything that a day's file says."""

    readings: Sequence[Reading]  # by time
    missing: Sequence[Missing]  # in their order
    flags: Mapping[tuple[int, str], int]  # (time, quantity) -> bits of schema.SPIKE …


class DayFileError(ValueError):
    """This is no day file of ours; `line` counts from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def path_of(slug: str, day: int) -> str:
    """The file of that Unix day, below the folder of data: `amsel/2026-05-01.csv`.

    Raises ValueError: the slug is none, so that no database can lead us anywhere else.
    """
    return f"{checked(slug)}/{date_of(day)}.csv"


def checked(slug: str) -> str:
    """A slug as the name of a folder. Raises ValueError."""
    if not SLUG.fullmatch(slug):
        raise ValueError(f"{slug!r} cannot be the name of a folder")
    return slug


def date_of(day: int) -> str:
    """`2026-05-01`. Raises ValueError: not in the years 1 to 9999."""
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise ValueError(f"day {day} is not in any calendar")
    return (_EPOCH + datetime.timedelta(days=day)).isoformat()


def day_of(date: str) -> int | None:
    """The other way; None: it is no date."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", date):
        return None
    try:
        return (datetime.date.fromisoformat(date) - _EPOCH).days
    except ValueError:
        return None


def columns(names: Iterable[str]) -> list[str]:
    """The header of a file with these quantities."""
    given = {*names}
    return [*BEFORE, *(name for name in by_name() if name in given), *BEHIND]


def render(day: Day) -> bytes:
    """The file. Its rows stand in the order of time; readings before what is missing at the same moment."""
    found = [codes.unpack(reading.codes) for reading in day.readings]
    names = columns({name for one in found for name in one})
    table = by_name()
    measured = [table[name] for name in names[len(BEFORE) : -len(BEHIND)]]
    rows: list[tuple[tuple[int, ...], str]] = []
    for reading, one in zip(day.readings, found, strict=True):
        received = "" if reading.delay_ms is None else iso(reading.time + reading.delay_ms)
        cells = [iso(reading.time), received, schema.ORIGIN_NAMES[reading.origin], "", "", ""]
        cells += [_cell(quantity, one.get(quantity.name)) for quantity in measured]
        bad = [f"{name}:{codes.QUALITY_NAMES[code]}" for name, code in one.items() if code < 0]
        cells += [" ".join(bad), " ".join(_flag_words(day.flags, reading.time, measured)) if day.flags else ""]
        rows.append(((reading.time, 0), ",".join(cells)))
    empty = "," * (len(measured) + len(BEHIND))
    for gap in day.missing:
        line = f"{iso(gap.time)},,{MISSING},{gap.join_nonce},{gap.fcnt},{gap.part}{empty}"
        rows.append(((gap.time, 1, gap.join_nonce, gap.fcnt, gap.part), line))
    rows.sort()
    return "".join([",".join(names), _END, *(f"{line}{_END}" for _, line in rows)]).encode("ascii")


def parse(content: bytes, day: int) -> Day:
    """What `render` has made this file of, for that Unix day.

    Raises DayFileError: it was not `render`; damaged, cut off, or changed by another program.
    """
    lines = content.split(_END.encode())
    if lines[-1]:
        raise DayFileError(len(lines), "the file ends in the middle of a line, or its lines do not end with CR LF")
    names, measured = _header(lines[0])
    readings: list[Reading] = []
    missing: list[Missing] = []
    flags: dict[tuple[int, str], int] = {}
    for number, line in enumerate(lines[1:-1], start=2):
        try:
            cells = line.decode("ascii").split(",")
            if len(cells) != len(names):
                raise ValueError(f"{len(cells)} cells, and {len(names)} columns")
            time = _moment(cells[0])
            if time // schema.DAY_MS != day:
                raise ValueError("it is of another day")
            if cells[2] == MISSING:
                if any((cells[1], *cells[len(BEFORE) :])):
                    raise ValueError("what is missing has no value")
                nonce, fcnt, part = (_natural(cell, most) for cell, most in zip(cells[3:6], _MOST, strict=True))
                missing.append(Missing(time, nonce, fcnt, part))
                if missing[-2:] != sorted({*missing[-2:]}):
                    raise ValueError("it is not in its order, or stands there twice")
            else:
                readings.append(_reading(cells, time, measured))
                if len(readings) > 1 and time <= readings[-2].time:
                    raise ValueError("it is not in the order of time, or stands there twice")
                flags.update(_flags(cells[-1], time, cells, measured))
        except (ValueError, KeyError) as error:
            raise DayFileError(number, str(error)) from error
    found = Day(readings, missing, flags)
    again = render(found).split(_END.encode())
    for number, (line, wanted) in enumerate(zip(lines, again, strict=False), start=1):
        if line != wanted:
            raise DayFileError(number, "it is not written as the nest writes it, or not in the order of time")
    return found


def iso(time: int) -> str:
    """ISO 8601 in UTC, of Unix ms. Raises ValueError: not in the years 1 to 9999."""
    day, rest = divmod(time, schema.DAY_MS)
    seconds, milliseconds = divmod(rest, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{date_of(day)}T{hour:02d}:{minute:02d}:{second:02d}.{milliseconds:03d}Z"


# -- writing


def _cell(quantity: Quantity, code: int | None) -> str:
    return "" if code is None or code < 0 else f"{quantity.value(code):.{quantity.decimals}f}"


def _flag_words(flags: Mapping[tuple[int, str], int], time: int, measured: Iterable[Quantity]) -> list[str]:
    return [
        f"{quantity.name}:{word}"
        for quantity in measured
        for bit, word in FLAG_NAMES.items()
        if flags.get((time, quantity.name), 0) & bit
    ]


# -- reading


def _header(line: bytes) -> tuple[list[str], list[Quantity]]:
    names = line.decode("ascii", "replace").split(",")
    measured = names[len(BEFORE) : -len(BEHIND)]
    strange = [name for name in measured if name not in by_name()]
    if strange:
        raise DayFileError(1, f"there is no quantity {strange[0]!a}")
    if names != columns(measured):
        raise DayFileError(1, f"the header of a day file was expected: {','.join(columns(measured))}")
    return names, [by_name()[name] for name in measured]


def _reading(cells: list[str], time: int, measured: list[Quantity]) -> Reading:
    if any(cells[3:6]):
        raise ValueError("session, fcnt and part are for what is missing")
    bad = _words(cells[-2])
    found: dict[str, int] = {}
    for quantity, cell in zip(measured, cells[len(BEFORE) :], strict=False):
        if cell:
            found[quantity.name] = _code(quantity, cell)
        elif quantity.name in bad:
            found[quantity.name] = codes.QUALITY_CODES[bad[quantity.name]]
    delay = None if not cells[1] else _moment(cells[1]) - time
    if cells[2] not in schema.ORIGIN_NAMES:
        raise ValueError(f"there is no origin {cells[2]!a}")
    return Reading(time, schema.ORIGIN_NAMES.index(cells[2]), delay, codes.pack(found))


def _code(quantity: Quantity, cell: str) -> int:
    if not re.fullmatch(r"-?\d{1,7}(\.\d{1,6})?", cell):
        raise ValueError(f"{cell!a} is no number")
    code = payload.code_of(quantity, float(cell))
    if code < 0 or _cell(quantity, code) != cell:
        raise ValueError(f"{quantity.name} cannot be {cell}")
    return code


def _words(cell: str) -> dict[str, str]:
    return dict(_pair(word) for word in cell.split(" ")) if cell else {}


def _pair(word: str) -> tuple[str, str]:
    name, colon, what = word.partition(":")
    if not colon:
        raise ValueError(f"{word!a} is neither a quality nor a flag")
    return name, what


def _flags(cell: str, time: int, cells: list[str], measured: list[Quantity]) -> dict[tuple[int, str], int]:
    found: dict[tuple[int, str], int] = {}
    bits = {word: bit for bit, word in FLAG_NAMES.items()}
    there = {quantity.name for quantity, text in zip(measured, cells[len(BEFORE) :], strict=False) if text}
    for word in cell.split(" ") if cell else ():
        name, what = _pair(word)
        if name not in there or what not in bits:
            raise ValueError(f"{word!a} is no flag of this reading")
        found[time, name] = found.get((time, name), 0) | bits[what]
    return found


def _moment(cell: str) -> int:
    found = _MOMENT.fullmatch(cell)
    day = day_of(found[1]) if found else None
    if found is None or day is None:
        raise ValueError(f"{cell!a} is no time like 2026-05-01T12:00:00.250Z")
    hour, minute, second, milliseconds = map(int, found.groups()[1:])
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(f"{cell} is no time of a day")
    return day * schema.DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + milliseconds


def _natural(cell: str, most: int) -> int:
    if not re.fullmatch(r"\d{1,10}", cell, re.ASCII) or int(cell) > most:
        raise ValueError(f"{cell!a} is no counter")
    return int(cell)
