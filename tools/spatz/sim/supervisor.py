"""Runs the processes of a flock: one MicroPython per node, started again as the real chip would be.

| the device says (power.json) | then |
| --- | --- |
| deepsleep, wake_at_us        | started at that time with cause "deepsleep"; never when there is no time |
| reset, soft_reset            | started at once with cause "soft" |
| wdt                          | started at once with cause "wdt" |
| ended                        | main.py returned: a real board shows its prompt and stays there, so not started again |
| crashed, fault, or nothing   | started with cause "wdt" after a pause that grows: what a watchdog would do |

`power_cut` ends a process without warning, forgets the RTC memory and starts with cause "power_on".

No process outlives the supervisor: each is in a process group of its own that is killed at the end, and on Linux the
kernel kills it when the supervisor dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spatz.resources import firmware_dir
from spatz.sim import micropython, nodes
from spatz.sim.airserver import monotonic_us
from spatz.sim.ending import die_with_parent
from spatz.sim.energy import States

DEVICE_DIR = Path(__file__).parent / "device"
CRASH_PAUSE_S = (1.0, 2.0, 5.0, 10.0, 30.0)
KEPT_LINES = 200
START_LEAD_US = 150_000
"""A process is started this long before its node wakes: what MicroPython and the emulator need to be ready. The node
itself waits for its moment, so a short lead costs punctuality and a long one nothing."""

_MAX_LINE = 64 * 1024

# What the firmware prints -> the event it stands for.
LINES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("joined", re.compile(r"^joined\b(.*)", re.IGNORECASE)),
    ("sent", re.compile(r"^sent\b(.*)", re.IGNORECASE)),
    ("downlink", re.compile(r"^downlink\b(.*)", re.IGNORECASE)),
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something a node did.

    `kind` is boot (detail: the cause), line (each printed one), joined, sent or downlink (detail: what was printed), or
    how a boot ended: deepsleep, reset, soft_reset, wdt, ended, cut, and with the reason crashed and fault.
    """

    node: str
    kind: str
    at_us: int
    detail: str = ""


@dataclass(slots=True)
class NodeState:
    """What the supervisor knows of one node. `pid` is 0 while it sleeps.

    `spent`: the states of all boots that came to their end, `usual`: of the usual rounds among them.
    """

    node: nodes.VirtualNode
    folder: nodes.Folder
    pid: int = 0
    boots: int = 0
    crashes: int = 0
    cause: str = "power_on"
    lines: list[str] = field(default_factory=list)
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    off_s: float = 0.0
    spent: States = field(default_factory=States)
    usual: States = field(default_factory=States)


class Supervisor:
    """Keeps the processes of a flock running between `start` and `stop`.

    `on_event` is called in the event loop for everything that happens. `main` replaces the firmware's main.py for all
    nodes, `run` the device's run.py (tests use both).
    """

    def __init__(
        self,
        flock: Sequence[tuple[nodes.VirtualNode, nodes.Folder]],
        air: tuple[str, int] | None,
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        run: Path = DEVICE_DIR / "run.py",
        main: Path | None = None,
        heap: str = "2M",
        weather_seed: int | None = None,
    ) -> None:
        self.states = {node.name: NodeState(node, folder) for node, folder in flock}
        self._air = air
        self._on_event = on_event
        self._run = run
        self._main = main
        self._weather_seed = weather_seed
        self._command = [*micropython.command(), "-X", f"heapsize={heap}", str(run)]
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "MICROPYPATH": f"{run.parent}:{firmware_dir()}:.frozen",
        }
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Switch every node on, each at its own phase."""
        self._tasks = [asyncio.create_task(self._live(state)) for state in self.states.values()]

    async def stop(self) -> None:
        """End every process and wait until it is gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def power_cut(self, name: str, off_s: float = 0.0) -> None:
        """Take the battery out, whatever the node is doing, and put it in again `off_s` seconds later."""
        state = self.states[name]
        state.off_s = off_s
        state.cut.set()

    async def _live(self, state: NodeState) -> None:
        wake_at_us: int | None = None
        await _sleep_or(state.cut, state.node.phase_s)
        while True:
            if state.cut.is_set():
                await self._switch_on_again(state)
                wake_at_us = None
            ended = await self._boot(state, wake_at_us)
            if state.cut.is_set():
                continue
            wake_at_us = None
            match ended["event"]:
                case "deepsleep":
                    wake_at_us = ended.get("wake_at_us")
                    state.cause, pause_s = "deepsleep", _until(wake_at_us)
                case "reset" | "soft_reset":
                    state.cause, pause_s = "soft", 0.0
                case "wdt":
                    state.cause, pause_s = "wdt", 0.0
                case "ended":
                    state.cause, pause_s = "wdt", None
                case _:
                    pause_s = CRASH_PAUSE_S[min(state.crashes, len(CRASH_PAUSE_S)) - 1]
                    state.cause = "wdt"
            await _sleep_or(state.cut, pause_s)

    async def _switch_on_again(self, state: NodeState) -> None:
        state.folder.rtc.unlink(missing_ok=True)
        off_s, state.off_s = state.off_s, 0.0
        await asyncio.sleep(off_s)
        state.cut.clear()
        state.cause = "power_on"

    async def _boot(self, state: NodeState, wake_at_us: int | None) -> dict[str, Any]:
        """Run the node's process from start to end; what it says about its end."""
        folder = state.folder
        folder.power.unlink(missing_ok=True)
        world = nodes.world(
            state.node,
            folder,
            self._air,
            cause=state.cause,
            boot=state.boots,
            wake_at_us=wake_at_us,
            weather_seed=self._weather_seed,
        )
        if self._main:
            world["main"] = str(self._main)
        nodes.write(folder.world, json.dumps(world))
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=folder.fs,
            env={**self._environment, "SPATZ_WORLD": str(folder.world)},
            process_group=0,
            limit=_MAX_LINE,
            preexec_fn=functools.partial(die_with_parent, signal.SIGKILL),
        )
        state.pid = process.pid
        state.boots += 1
        self._tell(state, "boot", state.cause)
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        reading = asyncio.create_task(self._read(state, process.stdout))
        cutting = asyncio.create_task(state.cut.wait())
        try:
            await asyncio.wait((reading, cutting), return_when=asyncio.FIRST_COMPLETED)
            if not cutting.done():
                await process.wait()
        finally:
            cutting.cancel()
            _kill(process)
            await process.wait()
            state.pid = 0
            reading.cancel()
        ended = {"event": "cut"} if state.cut.is_set() else _read_power(folder.power, process.returncode)
        state.crashes = state.crashes + 1 if ended["event"] in ("crashed", "fault") else 0
        self._add_up(state, States.of(ended.get("energy")))
        self._tell(state, ended["event"], str(ended.get("rule") or ended.get("error") or ""))
        return ended

    def _add_up(self, state: NodeState, states: States) -> None:
        state.spent += states
        if states.is_usual():
            state.usual += states

    async def _read(self, state: NodeState, stdout: asyncio.StreamReader) -> None:
        while True:
            try:
                raw = await stdout.readline()
            except ValueError:  # a line without end: the rest of it is worth nothing
                continue
            if not raw:
                return
            line = raw.decode("utf-8", "replace").rstrip()
            state.lines.append(line)
            del state.lines[:-KEPT_LINES]
            self._tell(state, "line", line)
            for kind, pattern in LINES:
                if found := pattern.match(line):
                    self._tell(state, kind, found[1].strip())

    def _tell(self, state: NodeState, kind: str, detail: str = "") -> None:
        self._on_event(Event(state.node.name, kind, monotonic_us(), detail))


def _until(wake_at_us: int | None) -> float | None:
    """Seconds from now; None for ever."""
    return None if wake_at_us is None else max(wake_at_us - START_LEAD_US - monotonic_us(), 0) / 1e6


async def _sleep_or(event: asyncio.Event, seconds: float | None) -> None:
    """Sleep, for ever when there is no time, but wake at once when `event` is set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def _read_power(path: Path, status: int | None) -> dict[str, Any]:
    """What the device said about its end; "crashed" when it had no time to say anything."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if isinstance(content, dict) and isinstance(content.get("event"), str):
        return content
    return {"event": "crashed", "error": f"exit status {status}"}


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
