"""Nodes that are interrupted while they are updated, and what must be true of them afterwards.

Each update brings other settings and another edition of every file (`edition`), so that all of them are written; the
real firmware runs before and after. The power goes after some bytes, or the cable is pulled after some time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from nest.errors import UserError
from spatz import usb
from spatz.attached import updating
from spatz.attached.updating import Request
from spatz.images import filesystem
from spatz.images.filesystem import MANIFEST, node_files
from spatz.images.nvs_image import identity_of, read_nvs
from spatz.sim.board.bench import VirtualBoard
from spatz.wishes import Wishes
from tools.attached.flashed import JOIN_EUI, KEY, board_with, files_on, layout, wishes
from tools.flash.cutting import next_dev_nonce

LIFE = 10  # cuts of one board
MOST_BYTES = 470_000  # that one update writes, and a little more
RENAMING_BYTES = 100_000
MOST_S = 3.0  # that one update takes
KINDS = ("power", "power", "power", "unplugged")


@dataclass
class Tally:
    """What happened to all of them together. missed: the update was at its end before the cut."""

    cuts: Counter[str] = field(default_factory=Counter)
    mended: int = 0
    missed: int = 0
    mixed: int = 0  # files of both editions were found after the cut
    findings: list[str] = field(default_factory=list)


def edition(wanted: Wishes) -> dict[str, bytes]:
    """The files of a node in the edition that its parity numbers: they differ by what nobody reads."""
    files = node_files(wanted)
    for path in files:
        if path.endswith(".mpy"):
            files[path] += bytes(wanted.parity)
        elif path.endswith(".py"):
            files[path] += b"#" * wanted.parity
    return files | {MANIFEST: _manifest(files)}


def _manifest(files: dict[str, bytes]) -> bytes:
    said = json.loads(files[MANIFEST])
    said["files"] = {path: filesystem.short_hash(data) for path, data in files.items() if path != MANIFEST}
    return json.dumps(said).encode()


def cut_boards(folder: Path, cuts: int, seed: int, *, threads: int, life: int = LIFE) -> Tally:
    """`cuts` interruptions, each board `life` of them. SPATZ_VIRTUAL_BOARDS is set to folder/usb meanwhile."""
    from nest.town import create

    (folder / "usb").mkdir(parents=True)
    create(folder / "town", name="Kappstadt")
    tally, lock = Tally(), threading.Lock()
    lives = [min(life, cuts - at) for at in range(0, cuts, life)]

    def one(number: int) -> None:
        trials = Trials(folder / f"board{number}", folder, seed * 10_000 + number)
        try:
            trials.run(lives[number])
        except Exception:  # a finding as well, and not the end of the others
            trials.tally.findings.append(f"board {number}: {traceback.format_exc()}\n{trials.last()}")
        with lock:
            tally.cuts.update(trials.tally.cuts)
            tally.mended += trials.tally.mended
            tally.missed += trials.tally.missed
            tally.mixed += trials.tally.mixed
            tally.findings += trials.tally.findings

    with _at_this_computer(folder / "usb"), ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(len(lives))))
    return tally


@contextlib.contextmanager
def _at_this_computer(registry: Path) -> Iterator[None]:
    """Only the virtual boards are there, and files come in editions."""
    with (
        patch.dict("os.environ", {usb.VIRTUAL_BOARDS: str(registry)}),
        patch("serial.tools.list_ports.comports", lambda *_, **__: []),
        patch.object(filesystem, "node_files", edition),
    ):
        yield


class Trials:
    """The life of one board."""

    def __init__(self, folder: Path, around: Path, seed: int) -> None:
        self.tally = Tally()
        self._chance = random.Random(seed)  # noqa: S311
        self._who = f"seed {seed}"
        self._town = around / "town"
        self._wished = wishes(name=f"spatz-{seed}", parity=0)
        self._nonce = 0
        self._board: VirtualBoard = board_with(
            folder, around / "usb", edition(self._wished), mac=f"02{seed & 0xFFFFFFFFFF:010x}", seed=seed, sensors=()
        )

    def run(self, cuts: int) -> None:
        """`cuts` interruptions."""
        from nest.cli_common import database
        from nest.registry import Registry

        with database(self._town) as engine:
            registry = Registry(engine)
            registry.add(self._wished.name, self._board.dev_eui, JOIN_EUI, KEY)
            registry.set_wishes(self._wished.name, self._wished.to_json())
        with self._board:
            for number in range(cuts):
                self._trial(f"{self._who}, cut {number}", number)

    def last(self) -> str:
        """What happened at the board at the end."""
        return "; ".join(str(event.get("text", event["event"])) for event in self._board.events()[-12:])

    def _trial(self, who: str, number: int) -> None:
        old = edition(self._wished)
        kind = self._chance.choice(KINDS)
        request = Request({"interval_s": 300 + number, "parity": (self._wished.parity + 1) % 5}, self._town)
        self._board.wait_for("line", text="Funkspatz node")
        unplug = threading.Timer(self._chance.uniform(0.1, MOST_S), self._board.do, ["unplug"])
        if kind == "power":
            at = self._chance.randrange(MOST_BYTES)
            if self._chance.random() < 0.5:  # where the files take their names, at the end
                at = MOST_BYTES - 1 - at % RENAMING_BYTES
            self._board.do("cut_after", bytes=at)
        else:
            unplug.start()
        try:
            updating.update_board(self._board.port, request, wait_s=0)
            self.tally.missed += 1
        except UserError as error:
            if getattr(error, "kind", "unknown") == "unknown":
                self._found(who, f"no message for people: {error.message}")
        finally:
            unplug.cancel()
        self.tally.cuts[kind] += 1
        wished = dataclasses.replace(self._wished, **request.changes)
        self._judge_files(who, old, edition(wished))
        self._back()
        result = updating.update_board(self._board.port, Request({}, self._town), wait_s=30)
        # a cut before the node had said who it is came before anything was wished
        if result.wishes not in (self._wished, wished):
            self._found(who, "what was wished is forgotten")
        self._wished = result.wishes
        if files_on(self._board) != edition(result.wishes):
            self._found(who, "not mended")
        else:
            self.tally.mended += 1
        self._judge_identity(who)

    def _judge_files(self, who: str, old: dict[str, bytes], new: dict[str, bytes]) -> None:
        """Every file is there, whole, in one edition or the other."""
        there = files_on(self._board)
        for path in new:
            if there.get(path) not in (old[path], new[path]):
                self._found(who, f"{path} is neither the old nor the new one")
        editions = {there[path] == new[path] for path in new if old[path] != new[path] and path in there}
        self.tally.mixed += len(editions) == 2

    def _judge_identity(self, who: str) -> None:
        nvs = layout().nvs
        values = read_nvs(self._board.flash()[nvs.offset : nvs.offset + nvs.size])
        identity = identity_of(values)
        if identity is None or (identity.dev_eui, identity.app_key) != (self._board.dev_eui, KEY):
            self._found(who, "its identity is lost")
        nonce = next_dev_nonce(values)
        if nonce < self._nonce:
            self._found(who, f"DevNonce {nonce} after {self._nonce}")
        self._nonce = max(self._nonce, nonce)

    def _back(self) -> None:
        """Power and cable are there again."""
        self._board.do("cut_after", bytes=1 << 30)
        until = time.monotonic() + 20
        seen = 0  # an order to unplug may still be on its way to the board
        while seen < 5:
            if time.monotonic() > until:
                raise TimeoutError("the board does not come back")
            there = self._board.registry_file.exists()
            if not there:
                self._board.do("plug")
            seen = seen + 1 if there else 0
            time.sleep(0.1)

    def _found(self, who: str, what: str) -> None:
        self.tally.findings.append(f"{who}: {what}")
