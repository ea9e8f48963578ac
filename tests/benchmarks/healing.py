"""Residue parity on a real series: how many readings of lost frames come back, and that none comes back wrong.

The series is June 2016 of the BSRN station Payerne (temperature and humidity measured, pressure interpolated between
its steps of 1 hPa, battery modelled), which the package pvlib carries; `pip install --no-deps pvlib==0.10.5`. Frames
are made by the firmware on MicroPython, healed by the nest. Losses: independent, or in bursts (Gilbert-Elliott: the bad
state loses all, 8 frames on average, the good one 2 %). Nothing is asked by downlink.
"""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nest import payload
from nest.healing import Healer
from spatz.sim.micropython import command

from tests.benchmarks import work

ROOT = Path(__file__).resolve().parents[2]
COMMON = ROOT / "tests/firmware/common"
SEEDS = 24
INTERVAL_MIN = 15
FRAMES = 100  # of which the instructions are counted
WILD = 100_000  # readings of the series in which everything happens

Reading = dict[str, float | str]
Channel = Callable[[random.Random], Iterator[bool]]


def independent(loss: float) -> Channel:
    def channel(rng: random.Random) -> Iterator[bool]:
        while True:
            yield rng.random() < loss

    return channel


def bursts(loss: float, length: float, good: float = 0.02) -> Channel:
    def channel(rng: random.Random) -> Iterator[bool]:
        bad_share = (loss - good) / (1 - good)
        into_bad = bad_share / length / (1 - bad_share)
        bad = rng.random() < bad_share
        while True:
            bad = rng.random() >= 1 / length if bad else rng.random() < into_bad
            yield bad or rng.random() < good

    return channel


CHANNELS: dict[str, Channel] = {
    "30 %": independent(0.3),
    "50 %": independent(0.5),
    "30 % in bursts of 8": bursts(0.3, 8),
}
ASKED = {(1, "30 %"): 99.5, (2, "50 %"): 99.5, (2, "30 % in bursts of 8"): 99.5}


def payerne(seed: int) -> list[Reading] | None:
    """2 880 readings, one each 15 minutes, or None where pvlib is not installed."""
    found = importlib.util.find_spec("pvlib")
    if found is None or not found.submodule_search_locations:
        return None
    file = Path(found.submodule_search_locations[0]) / "data/bsrn-pay0616.dat.gz"
    lines = gzip.decompress(file.read_bytes()).decode("latin-1").splitlines()
    start = lines.index("*U0100") + 1
    rows: list[tuple[float, float, float]] = []
    for line in lines[start + 1 :: 2]:  # two lines a minute; T, RH and p end the second
        if line.startswith("*") or len(rows) == 43_200:
            break
        temperature, humidity, pressure = map(float, line.split()[-3:])
        rows.append((temperature, humidity, pressure))
    steps = [0, *(at for at in range(1, len(rows)) if rows[at][2] != rows[at - 1][2]), len(rows) - 1]
    smooth = [row[2] for row in rows]
    for one, other in itertools.pairwise(steps):
        for at in range(one, other):
            smooth[at] = rows[one][2] + (rows[other][2] - rows[one][2]) * (at - one) / (other - one)
    rng = random.Random(seed)  # noqa: S311  to be repeated
    series: list[Reading] = []
    for at in range(seed % INTERVAL_MIN, len(rows), INTERVAL_MIN):
        temperature, humidity, _ = rows[at]
        if temperature < -90 or humidity < -90:  # the station's gaps
            temperature, humidity = series[-1]["temperature"], series[-1]["humidity"]  # type: ignore[assignment]
        battery = 3.9 - 0.2 * at / len(rows) + rng.gauss(0, 0.003)
        pressure = smooth[at] + rng.gauss(0, 0.03)
        series.append({"temperature": temperature, "humidity": humidity, "pressure": pressure, "battery": battery})
    return series


def wild(count: int, seed: int) -> Iterator[tuple[int, Reading, bool]]:
    """(FCnt, reading, whether power was cut before it): jumps of 10 °C, a charging battery, sensors that drop out and
    come back, dust once an hour, frames without a reading, restarts with a leap of the counter, a sensor more."""
    rng = random.Random(seed)  # noqa: S311  to be repeated
    fcnt, temperature, humidity, pressure, battery, dust = 0, 12.0, 70.0, 1000.0, 3.7, 15.0
    broken: str | None = None
    soil = False
    for at in range(count):
        cut = rng.random() < 0.0005
        fcnt += 1 + (rng.randrange(1, 70) if cut else rng.randrange(1, 4) if rng.random() < 0.01 else 0)
        temperature += rng.gauss(0, 0.3) - (temperature - 12) * 0.001
        if rng.random() < 0.005:
            temperature += rng.choice((-10, 10))
        humidity = min(100.0, max(10.0, humidity + rng.gauss(0, 1.5)))
        pressure += rng.gauss(0, 0.15) - (pressure - 1000) * 0.001
        hour = at // 4 % 24
        battery = min(4.2, battery + 0.06) if 10 <= hour < 14 else max(3.2, battery - 0.002)
        dust = max(1.0, dust + rng.gauss(0, 4))
        reading: Reading = {"temperature": temperature, "humidity": humidity, "pressure": pressure, "battery": battery}
        if rng.random() < 0.002:
            broken = None if broken else rng.choice(("temperature", "humidity", "pressure"))
        if broken:
            reading[broken] = rng.choice(("failed", "failed", "out_of_range"))
        if at // 20_000 % 2 and at % 4 == 0:
            reading["pm2_5"], reading["pm10"] = dust, dust * 1.6
        if rng.random() < 0.0002:
            soil = not soil
        if soil:
            reading["soil_moisture"] = 30 + at // 50 % 40
        yield fcnt, reading, cut


class Encoder:
    """The firmware's encoder on MicroPython."""

    def __enter__(self) -> Encoder:
        path = f"{ROOT / 'firmware'}:{COMMON}:.frozen"
        self._process = subprocess.Popen(
            [*command(), "-X", "heapsize=8M", "-m", "parity_frames"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "MICROPYPATH": path},
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def begin(self, symbols: int, fill: int = 0) -> None:
        self._say({"symbols": symbols, "fill": fill})

    def frame(self, fcnt: int, reading: Reading) -> bytes:
        self._say({"fcnt": fcnt, "reading": reading})
        return bytes.fromhex(self._process.stdout.readline())  # type: ignore[union-attr]

    def _say(self, what: object) -> None:
        self._process.stdin.write(json.dumps(what) + "\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]


def heal(frames: list[tuple[int, bytes]], lost: Iterator[bool]) -> tuple[int, int, int]:
    """Of those frames: readings that are known in the end, of these recovered ones, of these wrong ones."""
    healer, truth, known, recovered, wrong = Healer(), {}, 0, 0, 0
    for fcnt, frame in frames:
        decoded = payload.decode(1, frame)
        truth[fcnt] = decoded.codes
        if next(lost):
            continue
        known += 1
        for one in healer.heard(fcnt, decoded.codes, decoded.rest):
            recovered += bool(one.codes)
            wrong += one.codes != truth.get(one.fcnt, {})
    return known + recovered, recovered, wrong + healer.conflicts


def repeating(count: int, k: int, lost: Iterator[bool]) -> float:
    """Readings known in the end when each frame repeats the `k` before it, in %."""
    known: set[int] = set()
    for fcnt in range(count):
        if not next(lost):
            known.update(range(max(0, fcnt - k), fcnt + 1))
    return 100 * len(known) / count


def rows() -> Iterator[tuple[str, str, str]]:
    """The table, the wild series, and what the encoder costs."""
    if payerne(0) is None:
        yield "readings after loss", "", "not measured: pip install --no-deps pvlib==0.10.5"
    else:
        yield from _table()
    yield from _wild()
    yield from _cost()
    yield from _decoding()


def _table() -> Iterator[tuple[str, str, str]]:
    series = [payerne(seed) or [] for seed in range(SEEDS)]
    with Encoder() as node:
        for symbols in (1, 2):
            made = []
            for one in series:
                node.begin(symbols)
                made.append([(fcnt, node.frame(fcnt, reading)) for fcnt, reading in enumerate(one)])
            size = max(len(frame) for frames in made for _, frame in frames)
            name = f"residue parity, {symbols} symbol{'s' * (symbols > 1)}, {size} B"
            for channel, chance in CHANNELS.items():
                shares, wrong = [], 0
                for seed, frames in enumerate(made):
                    got, _, bad = heal(frames, chance(random.Random(seed)))  # noqa: S311  to be repeated
                    shares.append(100 * got / len(frames))
                    wrong += bad
                least = ASKED.get((symbols, channel))
                asked = f">= {least} %, 0 wrong" if least else ""
                yield f"{channel} lost: {name}", asked, f"{_mean(shares)}, {wrong} wrong"
    for k, size in ((0, "15"), (1, "17"), (3, "20"), (6, "25")):
        name = "CayenneLPP, 15 B" if not k else f"CayenneLPP and the last {k} as differences, about {size} B"
        for channel, chance in CHANNELS.items():
            shares = [repeating(2880, k, chance(random.Random(seed))) for seed in range(SEEDS)]  # noqa: S311
            yield f"{channel} lost: {name}", "", _mean(shares)


def _mean(shares: list[float]) -> str:
    return f"{sum(shares) / len(shares):.2f} % (worst of {len(shares)}: {min(shares):.2f})"


def _wild() -> Iterator[tuple[str, str, str]]:
    with Encoder() as node:
        node.begin(2)
        parts: list[list[tuple[int, bytes]]] = [[]]
        for fcnt, reading, cut in wild(WILD, 1):
            if cut:
                node.begin(2)
            parts[-1].append((fcnt, node.frame(fcnt, reading)))
    got, recovered, wrong = heal(parts[0], independent(0.3)(random.Random(1)))  # noqa: S311  to be repeated
    yield (
        f"{WILD} readings with jumps, charging, broken sensors, restarts, changing sets, 30 % lost",
        "0 wrong",
        f"{wrong} wrong of {recovered} recovered; {100 * got / len(parts[0]):.2f} % known in the end",
    )


def _cost() -> Iterator[tuple[str, str, str]]:
    if not shutil.which("valgrind"):
        yield "instructions of encoding", "", "not measured: valgrind is not installed"
        return
    counted = {kind: count(kind) for kind in ("crypto", "alone", "one", "two", "four")}
    crypto = counted.pop("crypto")
    yield "instructions of an uplink's crypto", "", str(crypto)
    for kind, number in counted.items():
        asked = "<= 1.5 times the crypto" if kind in ("one", "two") else ""
        yield f"  of encoding, {kind} symbol{'' if kind == 'one' else 's'}", asked, f"{number} ({number / crypto:.2f})"


def count(kind: str) -> int:
    """Instructions per frame, with a heap as a wake has it: hardly used. A start alone varies by some 30 000."""
    path = f"{ROOT / 'firmware'}:{COMMON}:.frozen"
    few, many = (work.instructions(path, "16M", "parity_work", kind, str(frames)) for frames in (1, 1 + FRAMES))
    return (many - few) // FRAMES


def _decoding() -> Iterator[tuple[str, str, str]]:
    """The codec and healing alone, as fast as frames can be taken from a list."""
    with Encoder() as node:
        node.begin(2)
        reading = {"temperature": 20.0, "humidity": 60.0, "pressure": 1000.0, "battery": 3.9}
        rng = random.Random(1)  # noqa: S311  to be repeated
        frames = []
        for fcnt in range(20_000):
            for name, step in (("temperature", 0.1), ("humidity", 0.5), ("pressure", 0.1)):
                reading[name] += step * rng.randint(-2, 2) - (reading[name] - 50) * 1e-4
            frames.append((fcnt, node.frame(fcnt, dict(reading))))
    lost = independent(0.3)(random.Random(2))  # noqa: S311  to be repeated
    heard = [frame for frame in frames if not next(lost)]
    began = time.process_time()
    healer = Healer()
    for fcnt, frame in heard:
        decoded = payload.decode(1, frame)
        healer.heard(fcnt, decoded.codes, decoded.rest)
    per_frame = (time.process_time() - began) / len(heard)
    yield "decoding and healing of 100 000 frames, 30 % lost, without the database", "", f"{per_frame * 1e5:.1f} s"


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row), flush=True)
