"""Make the cases of payload.json that carry "made": python tests/vectors/make_payload.py

An oracle of its own: it reads boards/quantities.toml, follows boards/payload.md, and computes with fractions and with
strings of bits, so that it shares no line and no rounding with the encoder and the decoders that it judges. Cases
without "made" were worked by hand; they stay as they are, and are computed here once more.
"""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("payload.json")
TABLE: list[dict[str, Any]] = sorted(
    tomllib.loads((ROOT / "boards/quantities.toml").read_text(encoding="utf-8"), parse_float=Decimal)["quantity"],
    key=lambda row: row["bit"],
)
BY_NAME = {row["name"]: row for row in TABLE}
FAILED, OUT_OF_RANGE = "failed", "out_of_range"
CLIMATE = {"temperature": 21.4, "humidity": 56.5, "pressure": 1008.3, "battery": 3.87}

Reading = dict[str, Any]  # name -> number, FAILED or OUT_OF_RANGE
Case = dict[str, Any]


def code_of(row: dict[str, Any], value: object) -> int:
    """The code of a value (boards/payload.md, "Codes"), in exact arithmetic."""
    failed = 2 ** row["bits"] - 1
    if value in (FAILED, OUT_OF_RANGE):
        return failed if value == FAILED else failed - 1
    steps = (Fraction(str(value)) - Fraction(row["minimum"])) / Fraction(row["resolution"]) + Fraction(1, 2)
    code = steps.__floor__()
    return code if 0 <= code < failed - 1 else failed - 1


def bits_of(reading: Reading) -> str:
    """The values, bit-packed, with the padding: a string of 0 and 1."""
    present = [row for row in TABLE if row["name"] in reading]
    bits = "".join(f"{code_of(row, reading[row['name']]):0{row['bits']}b}" for row in present)
    return bits + "0" * (-len(bits) % 8)


def hex_of(bits: str) -> str:
    return "".join(f"{int(bits[at : at + 8], 2):02x}" for at in range(0, len(bits), 8))


def bitmap_of(reading: Reading) -> str:
    """The presence bitmap as hex."""
    places = [BY_NAME[name]["bit"] for name in reading]
    size = max(places, default=0) // 7 + 1
    return hex_of(
        "".join(
            ("1" if index < size - 1 else "0")
            + "".join("1" if 7 * index + 6 - at in places else "0" for at in range(7))
            for index in range(size)
        )
    )


def payload_of(reading: Reading) -> str:
    return bitmap_of(reading) + hex_of(bits_of(reading))


def decoded(reading: Reading) -> dict[str, Any]:
    """What a decoder must say of this reading's payload."""
    values: dict[str, float] = {}
    names: dict[str, list[str]] = {FAILED: [], OUT_OF_RANGE: []}
    for row in TABLE:
        if row["name"] in reading:
            code, failed = code_of(row, reading[row["name"]]), 2 ** row["bits"] - 1
            if code < failed - 1:
                values[row["name"]] = float(row["minimum"] + code * row["resolution"])
            else:
                names[FAILED if code == failed else OUT_OF_RANGE].append(row["name"])
    return {"values": values, "failed": sorted(names[FAILED]), "out_of_range": sorted(names[OUT_OF_RANGE])}


def case(name: str, why: str, reading: Reading, rest: str | None = None, age_s: float | None = None) -> Case:
    payload = payload_of(reading) + (rest or "")
    made: Case = {"name": name, "made": True, "why": why, "fport": 1, "reading": reading, "payload": payload}
    made |= decoded(reading) | {"trailing": len(rest or "") // 2}
    if rest is not None:
        made["rest"] = rest
    return made | ({"age_s": age_s} if age_s is not None else {})


def limits(row: dict[str, Any]) -> Iterator[Case]:
    """One quantity at, inside and outside its limits, and between its steps."""
    name, low, step = row["name"], Decimal(row["minimum"]), Decimal(row["resolution"])
    top = 2 ** row["bits"] - 3
    high = low + top * step

    def one(what: str, value: Decimal) -> Case:
        steps = (Fraction(value) - Fraction(low)) / Fraction(step)
        code = code_of(row, value)
        word = "out of range" if code > top else f"code {code}"
        why = f"({value} - {low}) / {step} = {float(steps):g}, + 1/2, rounded down: {word}"
        return case(f"{name}: {what}", why, {name: float(value)})

    yield one("one step below the highest", high - step)
    yield one("in the middle", low + top // 2 * step)
    yield one("just under half a step is rounded down", low + 5 * step + step * 4 / 10)
    yield one("just over half a step is rounded up", low + 5 * step + step * 6 / 10)
    yield one("just above the highest is still the highest", high + step * 4 / 10)
    yield one("half a step above the highest and more is out of range", high + step * 6 / 10)
    yield one("just below the lowest is still the lowest", low - step * 4 / 10)
    yield one("half a step below the lowest and more is out of range", low - step * 6 / 10)
    yield one("far above", Decimal(10) ** 30)
    yield one("far below", -(Decimal(10) ** 30))
    yield one("zero" if low <= 0 else "zero is out of range", Decimal(0))
    yield case(f"{name}: out of range", "all ones minus one", {name: OUT_OF_RANGE})
    # halves that a binary number holds exactly: others are a little more or less than a half before anything is rounded
    halves = [low + (2 * n + 1) * step / 2 for n in (*range(-1, 60), top, top // 2)]
    exact = [value for value in halves if Fraction(float(value)) == Fraction(value)]
    for value in dict.fromkeys([*exact[:2], exact[-1]]):
        yield one(f"a half step is rounded up ({value})", value)


def at_code(name: str, code: int) -> float:
    return float(BY_NAME[name]["minimum"] + code * BY_NAME[name]["resolution"])


def combinations() -> Iterator[Case]:
    """Sets of quantities: where one ends, the next begins."""
    everything = [row["name"] for row in TABLE]
    tops = {row["name"]: 2 ** row["bits"] - 3 for row in TABLE}
    yield case("all at their lowest", "every code 0", {name: at_code(name, 0) for name in everything})
    yield case(
        "all at their highest", "every code 2^bits - 3", {name: at_code(name, tops[name]) for name in everything}
    )
    for first, second in itertools.pairwise(everything):
        why = f"code 1 beside 2^{BY_NAME[second]['bits']} - 3"
        yield case(f"{first} and {second}", why, {first: at_code(first, 1), second: at_code(second, tops[second])})
    for name in everything:
        reading: Reading = {other: at_code(other, 1) for other in everything} | {name: FAILED}
        yield case(f"of all, {name} failed", "every other code 1", reading)
        yield case(f"of all, {name} out of range", "every other code 1", reading | {name: OUT_OF_RANGE})
        others = {other: at_code(other, tops[other] // 3) for other in everything if other != name}
        yield case(f"all but {name}", "every code a third of the highest", others)
    # a fixed sequence without pattern (Knuth's MMIX generator), so that nobody needs the same random module
    state = 1
    for number in range(24):
        reading = {}
        for name in everything:
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            code = (state >> 20) % (tops[name] + 3)
            if state >> 62:  # three of four are there
                special = {tops[name] + 1: OUT_OF_RANGE, tops[name] + 2: FAILED}
                reading[name] = special[code] if code in special else at_code(name, code)
        yield case(f"mixed {number + 1}", "codes of a fixed pseudo-random sequence", reading)


def rests() -> Iterator[Case]:
    """What may stand behind a reading (boards/payload.md): the reading is the same, and only its age is taken."""
    age = "01012d"  # 301 quarters of a second
    earlier = "04 09 04b0 00 00012c 01 02 4b00 0e10 4b20".replace(" ", "")  # two temperatures, 0x0e10 quarters apart
    empty = "04 09 04b0 00 ffffff 00 03 0001 0002".replace(" ", "")  # three readings of nothing
    unpadded = "04 09 04b0 00 00012c 01 01 4b01".replace(" ", "")

    def extras(items: str, header: int = 0x40, length: int | None = None, behind: str = "") -> str:
        return f"{header:02x}{len(items) // 2 if length is None else length:02x}{items}{behind}"

    yield from (
        case(f"behind it: {what}", why, dict(CLIMATE), rest, age_s)
        for what, why, rest, age_s in (
            ("a header alone", "window code 0: no parity", "00", None),
            ("one parity symbol", "window code 10", "0a5bc1d0", None),
            ("two parity symbols", "window code 15", "0f5bc1d0112233", None),
            ("a step too large", "bit 5", "2a5bc1d0", None),
            ("a parity set of its own", "bit 4: bitmap 8f 10", "1a8f105bc1d0", None),
            ("a parity set without end", "bit 4: every bitmap byte announces another", "1a8f8f8f", None),
            ("a format of a later time", "bit 7: the rest is left alone, even where it looks like an age",
             extras(age, 0xC0), None),
            ("every bit of the header", "bit 7 again", extras(age, 0xFF), None),
            ("its age", "301 / 4 s", extras(age), 75.25),
            ("its age, then a parity symbol", "bits 6 and 3 and 1", extras(age, 0x4A, behind="5bc1d0"), 75.25),
            ("its age is nothing", "0: measured when it was sent", extras("010000"), None),
            ("the smallest age", "1 / 4 s", extras("010001"), 0.25),
            ("the greatest age", "65535 / 4 s", extras("01ffff"), 16383.75),
            ("no extras in the extras", "length 0", extras(""), None),
            ("a header that announces extras, and the end", "the length is missing", "40", None),
            ("an answer, then its age", "ANSWER has 2 bytes", extras("020700" + age), 75.25),
            ("unsent readings, then its age", "UNSENT has 1 byte", extras("0305" + age), 75.25),
            ("nothing in the log, then its age", "NONE has 4 bytes", extras("050904b018" + age), 75.25),
            ("earlier readings, then its age", "EARLIER: 16 bytes", extras(earlier + age), 75.25),
            ("earlier readings of nothing, then its age", "EARLIER: 13 bytes", extras(empty + age), 75.25),
            ("an earlier reading with bad padding, then its age", "damage ends it", extras(unpadded + age), None),
            ("its age, then an earlier reading cut off", "what was before the damage stands",
             extras(age + earlier[:-2]), 75.25),
            ("extras that are longer than the frame", "nothing of them counts", extras(age, length=200), None),
            ("extras that are one byte longer than the frame", "the same", extras(age, length=4), None),
            ("its age cut off", "one byte of two", extras("0101"), None),
            ("a length that ends in its age", "2 bytes of 3 belong to the extras", extras(age, length=2), None),
            ("an item of a later time, then its age", "unknown items hide what follows", extras("63aabb" + age), None),
            ("its age twice", "the later counts", extras("010001" + age), 75.25),
            ("everything at once", "UNSENT, ANSWER, EARLIER, NONE, AGE, a set, symbols",
             extras("0301020900" + earlier + "050904b018" + age, 0x7F, behind="8f105bc1d0"), 75.25),
        )
    )  # fmt: skip
    yield case("an empty reading and its age", "00, then extras", {}, extras(age), 75.25)
    failed = dict.fromkeys(BY_NAME, FAILED)
    yield case("every sensor failed, and its age", "an age without a value", failed, extras(age), 75.25)


def refused() -> Iterator[Case]:
    """What no encoder of this format sends."""

    def one(name: str, why: str, payload: str, fport: int = 1) -> Case:
        return {"name": name, "made": True, "why": why, "fport": fport, "payload": payload}

    for row in TABLE:
        name, sent = row["name"], payload_of({row["name"]: FAILED})
        yield one(f"{name}: cut off", f"{row['bits']} bits promised", sent[:-2])
        if row["bits"] % 8:
            raised = f"{int(sent, 16) + 1:0{len(sent)}x}"
            yield one(f"{name}: padding", f"the last of {-row['bits'] % 8} padding bits is set", raised)
    for bit in (*range(max(row["bit"] for row in TABLE) + 1, 21), 27, 34, 62):
        bitmap = "80" * (bit // 7) + f"{1 << bit % 7:02x}"
        yield one(f"presence bit {bit}", "not in the table", bitmap + "00" * 8)
    for fport in (2, 3, 223, 224, 255):
        yield one(f"fPort {fport}", "only fPort 1 is a reading", payload_of(CLIMATE), fport)


def check_by_hand(by_hand: list[Case]) -> None:
    """The hand-worked cases and this arithmetic agree."""
    for row in by_hand:
        if "reading" in row:
            want = decoded(row["reading"]) | {"payload": payload_of(row["reading"])}
            assert {key: row[key] for key in want} == want, row["name"]


def render() -> str:
    """The whole of payload.json."""
    now = json.loads(FILE.read_text(encoding="utf-8"))
    groups = {group: [row for row in now[group] if "made" not in row] for group in ("cases", "refused")}
    check_by_hand(groups["cases"])
    groups["cases"] += [*(row for quantity in TABLE for row in limits(quantity)), *combinations(), *rests()]
    groups["refused"] += refused()
    lines = [
        "{",
        f'  "format": {now["format"]},',
        f'  "about": {json.dumps(now["about"], ensure_ascii=False)},',
    ]
    for group, rows in groups.items():
        lines += [f'  "{group}": [', ",\n".join(f"    {json.dumps(row, ensure_ascii=False)}" for row in rows)]
        lines += ["  ]," if group == "cases" else "  ]"]
    return "\n".join([*lines, "}"]) + "\n"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
