"""Modelled energy of one uplink: 11 bytes of payload, both windows empty, boot and sensors apart.

Times are exact (virtual time, the real firmware on the emulated radio), so these figures do not depend on the machine.
Counted is from the call of the exchange until the radio is asleep again: radio and processor, with what the model adds
for computing (energy.toml). "The transmission alone" is the radio from the first symbol to the last.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spatz.sim.energy import Model, States, load
from spatz.sim.micropython import command

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SEARCH = ("tools/spatz/sim/device", "firmware", "tests/firmware/common")

SF7_MJ = 25.0
SF12_RATIO = 1.25
NAIVE_MJ = {7: 453, 12: 1077}
"""performance.md 5."""

_OPTIMAL, _WHOLE_POWER = "radio tx/14/22", "radio tx/22/14"
_NAIVE_BOOT_MC = 41.9
"""Stock MicroPython that validates its image at each wake (source: glenn20 in energy.toml)."""


def rows() -> Iterator[tuple[str, str, str]]:
    yield "mJ of one uplink at SF7, modelled", f"<= {SF7_MJ:g}", f"{mj(7):.1f}"
    yield "one uplink at SF12 / its transmission alone", f"<= {SF12_RATIO:g}", f"{mj(12) / parts(12)['transmit']:.3f}"
    for sf in range(7, 13):
        spent = ", ".join(f"{part} {value:.1f}" for part, value in parts(sf).items() if value >= 0.05)
        yield f"mJ at SF{sf}", "", f"{mj(sf):.1f} = {spent}"
    for sf, published in NAIVE_MJ.items():
        yield f"a naive node's mJ at SF{sf}, its boot included", f"{published} (notes)", f"{naive_mj(sf):.0f}"


def mj(sf: int) -> float:
    """All that is counted."""
    return sum(parts(sf).values())


def parts(sf: int) -> dict[str, float]:
    """Split as in spatz.sim.energy.PARTS."""
    return Model().cost(_spent(sf, "asleep"))


def naive_mj(sf: int) -> float:
    """The same in a node that waits awake, sends with the +22 dBm setting, and boots stock MicroPython."""
    states = _spent(sf, "awake")
    us = {key.replace(_OPTIMAL, _WHOLE_POWER): value for key, value in states.us.items()}
    assert _WHOLE_POWER in us
    return sum(Model().cost(States(us, states.counts)).values()) + _NAIVE_BOOT_MC * load()["supply"]["volts"]


def _spent(sf: int, how: str) -> States:
    return States.of(_measured()[str(sf)][how])


@functools.cache
def _measured() -> dict[str, Any]:
    done = subprocess.run(
        [*command(), str(HERE / "energy_exchange.py")],
        env={**os.environ, "MICROPYPATH": ":".join([*(str(ROOT / folder) for folder in SEARCH), ".frozen"])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    _, found, said = done.stdout.rpartition("SPENT ")
    if not found:
        raise RuntimeError(done.stdout + done.stderr)
    return json.loads(said)
