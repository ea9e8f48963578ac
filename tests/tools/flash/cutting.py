"""Boards that are interrupted while they are flashed, and what must be true of them after the next try.

One board after the other, in some threads: a virtual board with the real firmware is flashed by `spatz.flash` and its
worker with the real esptool, cut off somewhere, flashed again, and looked at.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spatz import usb
from spatz.flash.fleet import Fleet
from spatz.flash.one import Event, Request
from spatz.flash.plan import Keys
from spatz.flash.town import FlashTown
from spatz.images.nvs_image import identity_of, read_nvs
from spatz.sim.board.bench import VirtualBoard
from spatz.sim.board.made_image import made_image

APP_BYTES = 24_000
IMAGES = 2  # different ones in turn, so that each flashing writes the program anew
KINDS = ("power", "power", "power", "killed", "unplugged")
LIFE = 12  # cuts of one board, from the factory on
NVS = (0x9000, 0x6000)
MOST_BYTES = 460_000  # that one flashing writes
AHEAD_BYTES = 60_000  # half of the power cuts are as early as this: table, keys, program
RECORD = struct.Struct("<3sIQI")  # firmware/lorawan/device.py: magic, sequence number, time, next DevNonce


@dataclass
class Tally:
    """What happened to all boards together."""

    cuts: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)  # by what the next run did with the keys
    missed: int = 0  # the board was ready before its cut
    stages: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


class Trials:
    """The life of one board: `tally` is told what was wrong."""

    def __init__(self, folder: Path, town: Path, registry: Path, seed: int, tally: Tally) -> None:
        self._chance = random.Random(seed)  # noqa: S311
        self._tally = tally
        self._who = f"seed {seed}"
        self._town = FlashTown(town)
        self._images = []
        for number in range(IMAGES):
            file = folder.parent / f"micropython{number}.bin"
            if not file.exists():
                new = file.with_suffix(f".{seed}")
                new.write_bytes(made_image("esp32s3", APP_BYTES, number))
                new.replace(file)
            self._images.append(file)
        mac = f"02{seed & 0xFFFFFFFFFF:010x}"
        self._board = VirtualBoard(folder, registry=registry, mac=mac, seed=seed, sensors=())
        self._keys: list[bytes] = []  # the keys that the town gave it
        self._slug = ""
        self._nonce = 0  # the highest "next DevNonce" that was seen with the present key

    def run(self, cuts: int) -> None:
        """From the factory through `cuts` interruptions."""
        try:
            with self._board:
                for number in range(cuts):
                    self._trial(number)
        finally:
            self._town.close()

    def _trial(self, number: int) -> None:
        chance = self._chance
        kind = chance.choice(KINDS)
        erase = number > 0 and chance.random() < 0.06
        if number > 0 and chance.random() < 0.12:
            self._lose_nvs(chance.random() < 0.5)
        who = f"{self._who}, cut {number} ({kind})"
        stage, events = self._flash(number, kind, erase)
        self._tally.cuts[kind] += 1
        self._tally.stages[stage] += 1
        if not events or events[-1].what == "done":
            self._tally.missed += 1
        elif events[-1].fields.get("kind") in (None, "unknown") and kind != "killed":
            self._found(who, f"no message for people: {events[-1].fields}")
        self._back()
        _, again = self._flash(number, "", False)
        if not again or again[-1].what != "done":
            board = [event.get("text", event["event"]) for event in self._board.events()[-12:]]
            self._found(who, f"not mended: {again[-1].fields if again else 'nothing'}; the board: {board}")
            return
        if any(event.what == "question" for event in again):
            self._found(who, "a question was asked")
        self._tally.done[again[-1].fields["keys"]] += 1
        self._judge(who, again[-1])

    def _flash(self, number: int, kind: str, erase: bool) -> tuple[str, list[Event]]:
        """One run of spatz flash: where it was cut, and its events."""
        chance = self._chance
        if kind == "power":
            after = chance.randrange(AHEAD_BYTES if chance.random() < 0.5 else MOST_BYTES)
            self._board.do("cut_after", bytes=after)
        at = chance.random() if kind in ("killed", "unplugged") else 2.0
        request = Request(
            "heltec-v3" if not self._keys else None,
            firmware=self._images[number % IMAGES],
            changes={"interval_s": 300 + number},
            erase=erase,
            wait_s=8,
            life_s=30,
        )
        stage = "before"
        events: list[Event] = []
        nvs = b""
        with Fleet(self._town, request) as fleet:
            fleet.start(self._board.port)
            for event in fleet.events():
                events.append(event)
                if event.what == "node" and event.fields["keys"] == "kept":
                    nvs = self._nvs()  # from now on the chip is in its boot loader
                if event.what == "progress" and nvs and nvs != self._nvs():
                    self._found(f"{self._who}, cut {number}", "NVS was touched")
                if event.what == "question" and event.answer:
                    event.answer("heltec-v3")
                if event.what == "progress":
                    stage = f"{10 * event.fields['done'] // event.fields['total'] * 10} %"
                share = event.fields["done"] / event.fields["total"] if event.what == "progress" else 0.0
                early = event.what == "chip" and at < 0.1
                if early or share >= at:
                    at = 2.0
                    if kind == "killed":
                        fleet.kill_workers()
                    else:
                        self._board.do("unplug")
        return stage, events

    def _back(self) -> None:
        """Power and cable are there again."""
        self._board.do("cut_after", bytes=1 << 30)
        seen = 0  # an order to unplug may still be on its way to the board
        for _ in range(200):
            if not self._board.registry_file.exists():
                self._board.do("plug")
            seen = seen + 1 if usb.find(f"socket {self._board.settings.usb.location}", 0) else 0
            if seen == 4:
                return
            time.sleep(0.1)
        raise TimeoutError(f"the board does not come back: {self._board.events()[-5:]}")

    def _judge(self, who: str, done: Event) -> None:
        node = self._town.find(self._board.dev_eui)
        if node is None:
            self._found(who, "the town has forgotten it")
            return
        if self._slug and node.slug != self._slug:
            self._found(who, f"was {self._slug}, is {node.slug}")
        self._slug = node.slug
        if not self._keys or node.app_key != self._keys[-1]:
            if node.app_key in self._keys:
                self._found(who, "an old key")
            self._keys.append(node.app_key)
            self._nonce = 0
        values = read_nvs(self._nvs())
        identity = identity_of(values)
        if identity is None or (identity.dev_eui, identity.join_eui) != (node.dev_eui, node.join_eui):
            self._found(who, "its identity is lost")
        elif identity.app_key != node.app_key:
            self._found(who, "another key than the town's")
        nonce = next_dev_nonce(values)
        if nonce < self._nonce:
            self._found(who, f"DevNonce {nonce} after {self._nonce} ({done.fields['keys']})")
        self._nonce = max(self._nonce, nonce)

    def _lose_nvs(self, all_of_it: bool) -> None:
        """Somebody erased it, or a sector has gone bad."""
        at, size = NVS
        self._board.do("power_cut")
        self._board.wait_for("cut")
        with (self._board.folder / "flash.bin").open("r+b") as file, mmap.mmap(file.fileno(), 0) as flash:
            flash[at : at + (size if all_of_it else 0x1000)] = b"\xff" * (size if all_of_it else 0x1000)
        self._back()

    def _nvs(self) -> bytes:
        at, size = NVS
        with (self._board.folder / "flash.bin").open("rb") as file:
            file.seek(at)
            return file.read(size)

    def _found(self, who: str, what: str) -> None:
        self._tally.findings.append(f"{who}: {what}")
        if os.environ.get("FLASH_LOUD"):
            print(f"{who}: {what}", flush=True)


def next_dev_nonce(values: dict[tuple[str, str], int | bytes]) -> int:
    """The smallest DevNonce that a node with this NVS may still use."""
    first = values.get(("spatz", "dev_nonce"), 0)
    found = [first if isinstance(first, int) else 0]
    for slot in ("state0", "state1"):
        record = values.get(("spatz", slot))
        if isinstance(record, bytes) and len(record) > RECORD.size and record[:2] == b"FD":
            found.append(RECORD.unpack_from(record)[3])
    return max(found)


def cut_boards(folder: Path, cuts: int, seed: int, *, threads: int, life: int = LIFE) -> Tally:
    """`cuts` interruptions, each board `life` of them. SPATZ_VIRTUAL_BOARDS is set meanwhile."""
    from nest.town import create

    tally = Tally()
    registry, town = folder / "usb", folder / "town"
    registry.mkdir(parents=True)
    create(town, name="Kappstadt")
    lives = [min(life, cuts - at) for at in range(0, cuts, life)]
    lock = threading.Lock()

    def one(number: int) -> None:
        mine = Tally()
        try:
            Trials(folder / f"board{number}", town, registry, seed * 10_000 + number, mine).run(lives[number])
        except Exception as error:  # a finding as well, and not the end of the others
            mine.findings.append(f"board {number}: {error!r}")
        with lock:
            for name in ("cuts", "done", "stages"):
                getattr(tally, name).update(getattr(mine, name))
            tally.missed += mine.missed
            tally.findings += mine.findings
            if os.environ.get("FLASH_LOUD"):
                print(f"{sum(tally.cuts.values())} cuts, {sum(tally.done.values())} mended", flush=True)

    with _environment(SPATZ_VIRTUAL_BOARDS=str(registry)), ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(len(lives))))
    return tally


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before: dict[str, Any] = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


__all__ = ["Keys", "Tally", "Trials", "cut_boards", "next_dev_nonce"]
