"""The supervisor, with small MicroPython scripts in place of the emulator."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from spatz.sim import nodes, supervisor
from spatz.sim.airserver import monotonic_us
from spatz.sim.simulation import Plan
from spatz.sim.supervisor import Event, Supervisor

# Every script begins with this: the world, the files of the node, and a way to say how the boot ends.
PREAMBLE = """
import json, os, sys, time
world = json.load(open(os.getenv("SPATZ_WORLD")))
state = world["state_dir"]
def end(**what):
    with open(state + "/power.json", "w") as file:
        json.dump(what, file)
    sys.exit(0)
def now():
    return time.ticks_us()
def has_rtc():
    try:
        os.stat(state + "/rtc.bin")
        return True
    except OSError:
        return False
"""


class Watch:
    """Collects events and waits for them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._came = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._came.set()

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]

    def details(self, kind: str) -> list[str]:
        return [event.detail for event in self.of(kind)]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._came.clear()
                await self._came.wait()


@asynccontextmanager
async def running(tmp_path: Path, script: str, count: int = 1) -> AsyncIterator[tuple[Supervisor, Watch]]:
    run = tmp_path / "run.py"
    run.write_text(PREAMBLE + textwrap.dedent(script))
    watch = Watch()
    flock = Plan(nodes=count, spread_s=0.0).flock()
    made = [(node, nodes.make(node, tmp_path / node.name, interval_s=10, safe_window_s=5)) for node in flock]
    boss = Supervisor(made, None, on_event=watch, run=run)
    await boss.start()
    try:
        yield boss, watch
    finally:
        await boss.stop()
        for state in boss.states.values():
            assert state.pid == 0


async def test_after_deep_sleep_it_starts_again_at_the_wake_time(tmp_path: Path) -> None:
    script = """
        print(world["cause"], world["wake_at_us"])
        end(event="deepsleep", wake_at_us=now() + 700000)
    """
    async with running(tmp_path, script) as (_, watch):
        await watch.until(lambda: len(watch.of("line")) >= 3)
        told = [line.split() for line in watch.details("line")]
        assert [cause for cause, _ in told[:3]] == ["power_on", "deepsleep", "deepsleep"]
        for (_, wake_at), boot in zip(told[1:3], watch.of("boot")[1:3], strict=True):
            assert boot.at_us >= int(wake_at) - supervisor.START_LEAD_US
            assert boot.at_us < int(wake_at) + 5_000_000


async def test_a_sleep_without_end_lasts_until_the_power_is_cut(tmp_path: Path) -> None:
    script = """
        print(world["cause"], has_rtc())
        open(state + "/rtc.bin", "w").close()
        end(event="deepsleep", wake_at_us=None)
    """
    async with running(tmp_path, script) as (boss, watch):
        await watch.until(lambda: watch.of("deepsleep"))
        boss.power_cut("amsel")
        await watch.until(lambda: len(watch.of("deepsleep")) == 2)
        assert watch.details("line") == ["power_on False", "power_on False"]


@pytest.mark.parametrize(("event", "cause"), [("reset", "soft"), ("soft_reset", "soft"), ("wdt", "wdt")])
async def test_after_a_reset_it_starts_at_once_and_keeps_rtc_memory(tmp_path: Path, event: str, cause: str) -> None:
    script = f"""
        print(world["cause"], has_rtc())
        open(state + "/rtc.bin", "w").close()
        end(event="{event}")
    """
    async with running(tmp_path, script) as (_, watch):
        await watch.until(lambda: len(watch.of("line")) >= 2)
        assert watch.details("line")[:2] == ["power_on False", f"{cause} True"]


async def test_a_crash_is_told_with_its_reason_and_followed_by_a_watchdog_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CRASH_PAUSE_S", (0.05, 0.1))
    script = """
        print(world["cause"])
        if world["cause"] == "power_on":
            raise ValueError("broken")
        end(event="fault", rule="no CS, no words")
    """
    async with running(tmp_path, script) as (boss, watch):
        await watch.until(lambda: watch.of("fault"))
        assert watch.details("crashed") == ["exit status 1"]
        assert watch.details("fault")[0] == "no CS, no words"
        assert "ValueError: broken" in watch.details("line")
        assert watch.details("boot")[:2] == ["power_on", "wdt"]
        assert boss.states["amsel"].crashes >= 2


async def test_a_process_killed_from_outside_counts_as_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "CRASH_PAUSE_S", (0.05,))
    async with running(tmp_path, "print('awake')\ntime.sleep(60)\n") as (boss, watch):
        await watch.until(lambda: watch.of("line"))
        os.kill(boss.states["amsel"].pid, signal.SIGKILL)
        await watch.until(lambda: len(watch.of("line")) == 2)
        assert watch.details("crashed") == ["exit status -9"]
        assert watch.details("boot") == ["power_on", "wdt"]


async def test_a_main_that_returns_leaves_the_node_at_its_prompt(tmp_path: Path) -> None:
    async with running(tmp_path, "end(event='ended')") as (boss, watch):
        await watch.until(lambda: watch.of("ended"))
        boss.power_cut("amsel", off_s=0.01)
        await watch.until(lambda: len(watch.of("ended")) == 2)
        assert watch.details("boot") == ["power_on", "power_on"]


async def test_a_power_cut_in_the_middle_forgets_rtc_memory_and_keeps_nvs(tmp_path: Path) -> None:
    script = """
        nvs = json.load(open(state + "/nvs.json"))
        print(world["cause"], has_rtc(), "app_key" in nvs["spatz"])
        open(state + "/rtc.bin", "w").close()
        time.sleep(60)
    """
    async with running(tmp_path, script) as (boss, watch):
        await watch.until(lambda: watch.of("line"))
        boss.power_cut("amsel")
        await watch.until(lambda: len(watch.of("line")) == 2)
        assert watch.details("line") == ["power_on False True", "power_on False True"]
        assert len(watch.of("cut")) == 1


async def test_what_the_firmware_prints_becomes_events(tmp_path: Path) -> None:
    script = """
        print("joining, try 1 at DR5")
        print("joined as 00c0ffee")
        print("sent and acknowledged, frame 3")
        print("downlink port=2 payload=0a0b")
        print("x" * 200000)
        print("sent, frame 4")
        time.sleep(60)
    """
    async with running(tmp_path, script) as (boss, watch):
        await watch.until(lambda: len(watch.of("sent")) == 2)
        assert watch.details("joined") == ["as 00c0ffee"]
        assert watch.details("sent") == ["and acknowledged, frame 3", ", frame 4"]
        assert watch.details("downlink") == ["port=2 payload=0a0b"]
        assert boss.states["amsel"].lines[1] == "joined as 00c0ffee"


async def test_ten_nodes_at_once_and_none_is_left(tmp_path: Path) -> None:
    async with running(tmp_path, "print('awake')\ntime.sleep(60)\n", count=10) as (boss, watch):
        await watch.until(lambda: len({event.node for event in watch.of("line")}) == 10)
        pids = [state.pid for state in boss.states.values()]
        assert len(set(pids)) == 10
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_no_node_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("import time\nprint('awake')\ntime.sleep(60)\n")
    program = f"""
        import asyncio
        from pathlib import Path
        from spatz.sim import nodes
        from spatz.sim.simulation import Plan
        from spatz.sim.supervisor import Supervisor

        async def main():
            folder = Path({str(tmp_path)!r})
            node = Plan(nodes=1, spread_s=0.0).flock()[0]
            made = nodes.make(node, folder / "amsel", interval_s=10, safe_window_s=5)
            awake = asyncio.Event()
            boss = Supervisor(
                [(node, made)], None, run=folder / "run.py",
                on_event=lambda event: awake.set() if event.kind == "line" else None,
            )
            await boss.start()
            await awake.wait()
            print(boss.states["amsel"].pid, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        os.kill(pid, 0)
        process.kill()
        process.wait()
    deadline = monotonic_us() + 5_000_000
    while _alive(pid) and monotonic_us() < deadline:
        pass
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    """False for a process that is gone, and for one that is dead and only waits to be collected."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def test_world_json_is_never_half_written(tmp_path: Path) -> None:
    async with running(tmp_path, "end(event='reset')") as (boss, watch):
        folder = boss.states["amsel"].folder
        await watch.until(lambda: watch.of("boot"))
        for _ in range(200):
            assert json.loads(folder.world.read_text())["node"] == "amsel"
            await asyncio.sleep(0)
