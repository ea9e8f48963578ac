"""`nest redecode`: 100 000 frames of one node with one parity symbol, heard with 30 % loss, decoded again from the
database, healing included; each time in a process of its own, on one core, with its greatest memory.

Nothing that was lost had been recovered before: what parity gives back is written as well. Frames are made by the
firmware on MicroPython; the weather is a random walk.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nest.archive import open_database, schema
from nest.archive.decoding import airtime_ms
from nest.registry import Registry
from sqlalchemy import insert

from tests.benchmarks.healing import Encoder, independent

FRAMES = 100_000  # heard
FEW = 20_000
LOSS = 0.3
START_MS, INTERVAL_MS, AIRTIME_MS = 1_600_000_000_000, 60_000, 62

_RUN = """
import json, re, sys, time
from pathlib import Path
from nest.archive import open_database
from nest.archive.redecode import Redecoder
import dataclasses
engine = open_database(Path(sys.argv[1]))
before = time.process_time()
began = time.monotonic()
done = Redecoder(engine, pause=lambda _: None).run()
print(json.dumps({
    "cpu_s": time.process_time() - before, "s": time.monotonic() - began,
    # not getrusage: that counts what the parent had before exec
    "rss_mb": int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024,
    **dataclasses.asdict(done),
}))
"""


def make(path: Path, count: int) -> int:
    """A database with `count` frames of one node, each with its reading; how many were lost."""
    engine = open_database(path)
    node = Registry(engine).add("amsel", "70b3d57ed0000001").id
    zeros = dict.fromkeys(("dev_addr", "fcnt_down", "rx1_delay_s", "rx1_dr_offset", "rx2_dr", "rx2_freq_hz"), 0)
    session = {"node_id": node, "join_nonce": 1, "fcnt_up": 0, "active": True, "joined_at": 0.0, **zeros}
    with engine.begin() as connection:
        number = connection.execute(
            insert(schema.sessions).values(**session).returning(schema.sessions.c.id)
        ).scalar_one()
    lost = independent(LOSS)(random.Random(2))  # noqa: S311  to be repeated
    frames, readings, gaps, missing = [], [], [], 0
    heard = fcnt = 0
    for fcnt, content in _contents():
        time = START_MS + fcnt * INTERVAL_MS
        if next(lost):
            missing += 1
            moments = dict.fromkeys(("time", "opened_at", "state_at"), time - AIRTIME_MS)
            gaps.append(
                {"session_id": number, "fcnt": fcnt, "part": 0, "node_id": node, "state": schema.OPEN, **moments}
            )
        else:
            heard += 1
            frames.append(
                {
                    "node_id": node, "session_id": number, "fcnt": fcnt, "time": time, "fport": 1, "payload": content,
                    "phy": bytes(13) + content, "confirmed": False, "freq_hz": 868_100_000, "sf": 7, "bw_hz": 125_000,
                    "heard": [], "decoded": schema.DECODED,
                }
            )  # fmt: skip
            # as the journal would have: the size of the frame gives its airtime
            readings.append((time, content))
        if heard == count:
            break
    rows = []
    for time, content in readings:
        before = airtime_ms(7, 125_000, 13 + len(content))
        rows.append(
            {"node_id": node, "time": time - before, "origin": 0, "delay_ms": before, "codes": content[:6]}
        )  # fmt: skip
    with engine.begin() as connection:
        for table, those in ((schema.frames, frames), (schema.readings, rows), (schema.gaps, gaps)):
            connection.execute(insert(table), those)
        connection.execute(schema.sessions.update().values(fcnt_up=fcnt))
    engine.dispose()
    return missing


def _contents() -> Iterator[tuple[int, bytes]]:
    """(FCnt, FRMPayload): temperature, humidity, pressure, battery."""
    rng = random.Random(1)  # noqa: S311  to be repeated
    reading: dict[str, float | str] = {"temperature": 12.0, "humidity": 60.0, "pressure": 1000.0, "battery": 3.9}
    with Encoder() as node:
        node.begin(1)
        for fcnt in range(1 << 32):
            for name, step in (("temperature", 0.1), ("humidity", 0.5), ("pressure", 0.1)):
                middle = {"temperature": 12.0, "humidity": 60.0, "pressure": 1000.0}[name]
                value = float(reading[name])
                reading[name] = value + step * rng.randint(-2, 2) - (value - middle) * 1e-3
            yield fcnt, node.frame(fcnt, dict(reading))


def run(path: Path) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", _RUN, str(path)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def rows() -> Iterator[tuple[str, str, str]]:
    peaks: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (FEW, FRAMES):
            path = Path(folder) / f"{count}.db"
            missing = make(path, count)
            first = run(path)
            again = run(path)
            peaks[count] = max(first["rss_mb"], again["rss_mb"])
            asked = "<= 20 s" if count == FRAMES else ""
            yield f"{count} frames decoded again, healing included", asked, f"{first['cpu_s']:.1f} s of one core"
            yield "  the same once more, nothing to write", asked, f"{again['cpu_s']:.1f} s of one core"
            yield "  readings of lost frames recovered", "", f"{first['recovered']} of {missing}"
            good = again["same"] == count + first["recovered"] and not first["corrected"] + again["recovered"]
            yield "  every other reading as it was, and nothing new the second time", "yes", "yes" if good else "no"
    yield (
        "  greatest memory, 20 000 and 100 000 frames",
        "the same",
        " and ".join(f"{mb:.0f} MB" for mb in peaks.values()),
    )


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row), flush=True)
