"""Makes parity.json: what frames a node sends in a row, by the words of boards/payload.md ("Parity") and nothing else.

    python tests/vectors/make_parity.py > tests/vectors/parity.json

Slow and plain on purpose: vectors are lists of bits, and the whole history is kept. It imports neither firmware nor
nest. A scenario is a list of frames {fcnt, codes, symbols, fill, frame}; codes as they stand in a frame.
"""

from __future__ import annotations

import hashlib
import json
import random
import tomllib
from pathlib import Path

Reading = dict[str, int]
TABLE = tomllib.loads((Path(__file__).parents[2] / "boards/quantities.toml").read_text(encoding="utf-8"))["quantity"]
ROWS = {row["name"]: row for row in sorted(TABLE, key=lambda row: row["bit"])}
WINDOWS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 80, 96, 128)
NODE_WORDS = 128  # of 30 bits: what a node of ours keeps; the document leaves it open


def bits(number: int, width: int) -> list[int]:
    return [number >> width - 1 - at & 1 for at in range(width)]


def to_bytes(row: list[int]) -> bytes:
    row = row + [0] * (-len(row) % 8)
    return bytes(int("".join(map(str, row[at : at + 8])), 2) for at in range(0, len(row), 8))


def bitmap(names: set[str]) -> bytes:
    present = sum(1 << ROWS[name]["bit"] for name in names)
    groups = [present & 127]
    while present := present >> 7:
        groups.append(present & 127)
    return bytes(group | (128 if at < len(groups) - 1 else 0) for at, group in enumerate(groups))


def distances(fcnt: int, index: int, n: int) -> list[int]:
    """With repetitions: an XOR of the same twice is nothing."""
    digest = hashlib.sha256(fcnt.to_bytes(4, "little") + bytes([index])).digest()
    return [digest[at] % n + 1 for at in range(15)]


class Node:
    """One session of a node, told by the document."""

    def __init__(self) -> None:
        self.begin(set(), varied=False)

    def begin(self, names: set[str], *, varied: bool) -> None:
        self.names, self.varied = names, varied
        self.slots: dict[int, list[int]] = {}  # FCnt -> vector
        self.latest: Reading = {}
        self.last = -1

    def width(self) -> int:
        return 1 + sum(ROWS[name]["residue"] + self.varied for name in self.names)

    def capacity(self) -> int:
        return NODE_WORDS // -(-self.width() // 30)

    def frame(self, fcnt: int, codes: Reading, symbols: int, fill: int) -> bytes:
        names = set(codes)
        if not self.names:
            self.begin(names, varied=False)
        elif not names <= self.names if self.varied else names != self.names:
            self.begin(names | self.names, varied=True)
        empties = range(self.last + 1, fcnt) if self.slots else range(0)
        if self.slots and len(empties) >= 128:
            self.begin(self.names, varied=self.varied)
            empties = range(0)
        for empty in empties:
            self.slots[empty] = [0 if self.varied else 1] + [0] * (self.width() - 1)
        n = max(n for n in WINDOWS if n <= min(len(self.slots), self.capacity()))
        step = n == 0 or (len(empties) > 0 and not self.varied)
        for name, code in codes.items():
            half = 2 ** (ROWS[name]["residue"] - 1)
            if name not in self.latest or not -half <= code - self.latest[name] <= half - 1:
                step = True
        vector = [int(step)]
        ordered = [name for name in ROWS if name in self.names]
        if self.varied:
            vector += [int(name in codes) for name in ordered]
        for name in ordered:
            width = ROWS[name]["residue"]
            vector += bits(codes[name] % 2**width, width) if name in codes else [0] * width
        head = bitmap(names) + to_bytes(
            [bit for name in ROWS if name in codes for bit in bits(codes[name], ROWS[name]["bits"])]
        )
        between = bitmap(self.names) if self.varied else b""
        room = max(-(-symbols * self.width() // 8), fill - len(head) - 1 - len(between))
        room = min(room, -(-n * self.width() // 8))
        row: list[int] = []
        for index in range(min(room * 8 // self.width(), 32)):
            total = [0] * self.width()
            for d in distances(fcnt, index, n):
                total = [a ^ b for a, b in zip(total, self.slots[fcnt - d], strict=True)]
            row += total
        header = WINDOWS.index(n) | 16 * self.varied | 32 * step
        self.slots[fcnt] = vector
        self.latest |= codes
        self.last = fcnt
        return head + bytes([header]) + between + to_bytes(row)


def walk(rng: random.Random, codes: Reading) -> Reading:
    """The next reading: small steps, now and then a jump, a failed sensor, or one that comes back."""
    result = {}
    for name, code in codes.items():
        top = 2 ** ROWS[name]["bits"] - 1
        change = rng.random()
        if change < 0.03:
            code = top  # failed
        elif change < 0.04:
            code = top - 1  # out of range
        elif code >= top - 1 or change < 0.07:
            code = rng.randrange(top - 1)
        else:
            half = 2 ** (ROWS[name]["residue"] - 1)
            code = min(max(0, code + rng.randint(-half // 2, half // 2)), top - 2)
        result[name] = code
    return result


def scenario(
    name: str,
    names: str,
    count: int,
    seed: int,
    *,
    symbols: int = 1,
    fill: int = 0,
    start: int = 0,
    slow: str = "",
    skips: tuple[tuple[int, int], ...] = (),
) -> dict[str, object]:
    """`slow`: quantities measured with every fourth frame only; skips: (at, how many FCnts are jumped over)."""
    rng = random.Random(seed)  # noqa: S311  to be repeated
    node, frames, fcnt = Node(), [], start
    codes = {quantity: 2 ** ROWS[quantity]["bits"] // 3 for quantity in names.split()}
    for at in range(count):
        fcnt += dict(skips).get(at, 0)
        codes = walk(rng, codes)
        sent = {q: code for q, code in codes.items() if q not in slow.split() or at % 4 == 0}
        frame = node.frame(fcnt, sent, symbols, fill)
        frames.append({"fcnt": fcnt, "codes": sent, "frame": frame.hex()})
        fcnt += 1
    return {"name": name, "symbols": symbols, "fill": fill, "frames": frames}


CLIMATE = "temperature humidity pressure battery"


def main() -> None:
    scenarios = [
        scenario("climate, one symbol", CLIMATE, 150, 1),
        scenario("climate, two symbols, high FCnts", CLIMATE, 60, 2, symbols=2, start=65500),
        scenario("climate, filled to 22 bytes", CLIMATE, 40, 3, fill=22),
        scenario("climate, frames without a reading between", CLIMATE, 60, 4, skips=((10, 1), (30, 3))),
        scenario("climate, a jump over more FCnts than slots", CLIMATE, 40, 5, skips=((20, 200),)),
        scenario("dust once in four", CLIMATE + " pm2_5 pm10", 100, 6, slow="pm2_5 pm10", skips=((50, 2),)),
        scenario("battery alone", "battery", 140, 7, symbols=1),
        scenario("all twelve", " ".join(ROWS), 50, 8, symbols=1, start=1 << 20),
        scenario("no symbols", CLIMATE, 5, 9, symbols=0),
    ]
    print('{"scenarios": [')
    for at, row in enumerate(scenarios):
        frames = ",\n    ".join(json.dumps(frame) for frame in row.pop("frames"))  # type: ignore[attr-defined]
        print(f'  {json.dumps(row)[:-1]}, "frames": [\n    {frames}\n  ]}}{"," if at < len(scenarios) - 1 else ""}')
    print("]}")


if __name__ == "__main__":
    main()
