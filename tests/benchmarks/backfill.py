"""A node for 30 days over a channel that loses frames both ways, with a gateway that is silent for a day: what the
archive has in the end, and how many downlinks that took. In virtual time; the planner is the nest's (nest.backfill).

Modelled: the node's log and its answers (four earlier readings a frame, fewer than fit at SF10); parity as XORs of
pseudo-random slots, solved over GF(2), where a solved slot counts only beside a known one (performance.md section 3.1).
Readings that were asked for do not help the solver here. What is called exact has the firmware's frames and the nest's
healer in the place of the model, and every recovered reading is compared with the true one.

    python -m tests.benchmarks.backfill [SEED …]
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from nest import backfill, healing, orders, payload
from nest.backfill import DAY_S, Gap, Situation

for _folder in ("firmware", "tests/firmware/cpython"):
    if (_path := str(Path(__file__).resolve().parents[2] / _folder)) not in sys.path:
        sys.path.insert(0, _path)

SESSION = 0x0123A7
INTERVAL_S = 900.0
ROOM = 4  # earlier readings in a frame
DENSITY = 0.15
LATER_S = 2 * DAY_S  # the archive is looked at so long after the days that count
RETRY_S = (900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0)


class Healer:
    """What parity would recover: equations over slots, bit i of a mask stands for slot i."""

    def __init__(self) -> None:
        self.known = 0  # slots heard or recovered
        self.solved = 0  # whose residue is known
        self._rows: dict[int, int] = {}
        self._newest = 0

    def sent(self, fcnt: int, symbols: int) -> None:
        """The node makes a frame."""

    def heard(self, fcnt: int, symbols: int) -> list[int]:
        """That frame is heard; the slots that are recovered by it."""
        self._newest = fcnt
        before = self.known
        self._settle(1 << fcnt)
        self.known |= 1 << fcnt
        for index in range(symbols):
            self._add(_subset(fcnt, index) & ~self.solved)
        while beside := self.solved & ~self.known & (self.known << 1 | self.known >> 1):
            self.known |= beside
        found = self.known & ~before & ~(1 << fcnt)
        return [slot for slot in range(found.bit_length()) if found >> slot & 1]

    def _settle(self, bit: int) -> None:
        self.solved |= bit
        hit = [(pivot, mask) for pivot, mask in self._rows.items() if mask & bit]
        for pivot, _ in hit:
            del self._rows[pivot]
        for _, mask in hit:
            self._add(mask & ~self.solved)

    def _add(self, mask: int) -> None:
        for pivot, other in self._rows.items():
            if mask & pivot:
                mask ^= other
        if not mask:
            return
        pivot = mask & -mask
        for at, other in self._rows.items():
            if other & pivot:
                self._rows[at] = other ^ mask
        self._rows[pivot] = mask
        horizon = max(0, self._newest - 2 * backfill.WINDOW)
        for at, other in list(self._rows.items()):
            if not other & (other - 1):
                del self._rows[at]
                self.solved |= other
            elif at < 1 << horizon:
                del self._rows[at]  # what it is about cannot be solved any more


class Exact(Healer):
    """The firmware's own frames and the nest's own healer, over weather that wanders."""

    def __init__(self) -> None:
        from payload.encode import codes
        from payload.window import Window

        super().__init__()
        self._codes, self._window, self._healer = codes, Window(), healing.Healer()
        self._draw = random.Random(4)  # noqa: S311  a simulation
        self._weather = {"temperature": 12.0, "humidity": 60.0, "pressure": 1000.0, "battery": 3.7}
        self._truth: dict[int, dict[str, int]] = {}
        self._frame = b""

    def sent(self, fcnt: int, symbols: int) -> None:
        for name, step in (("temperature", 0.3), ("humidity", 1.0), ("pressure", 0.2), ("battery", 0.005)):
            self._weather[name] += self._draw.uniform(-step, step)
        self._frame = bytes(self._window.frame(1, self._codes(self._weather), symbols)(fcnt) or b"")
        self._truth[fcnt] = payload.decode(1, self._frame).codes

    def heard(self, fcnt: int, symbols: int) -> list[int]:
        read = payload.decode(1, self._frame)
        found = self._healer.heard(fcnt, read.codes, read.rest)
        for one in found:
            assert one.codes == self._truth[one.fcnt]
        return [one.fcnt for one in found]


def _subset(fcnt: int, index: int) -> int:
    draw = random.Random(fcnt * 40503 + index)  # noqa: S311  a simulation
    return sum(1 << fcnt - back for back in range(1, min(backfill.WINDOW, fcnt) + 1) if draw.random() < DENSITY)


class Node:
    """Its log remembers everything; what it is asked for, it adds to later frames, once."""

    def __init__(self) -> None:
        self.parity = 1
        self.fcnt = -1
        self._wanted: deque[int] = deque()
        self._answer: int | None = None

    def frame(self) -> tuple[int, int | None, list[int]]:
        """FCnt, ticket that is answered, earlier readings."""
        self.fcnt += 1
        answer, self._answer = self._answer, None
        return self.fcnt, answer, [self._wanted.popleft() for _ in range(min(ROOM, len(self._wanted)))]

    def take(self, downlink: bytes) -> None:
        """What was ordered."""
        heard = orders.decode(downlink)
        assert not heard.rest
        self._answer = heard.ticket
        for command in heard.commands:
            if isinstance(command, orders.Parity):
                self.parity = command.symbols
            elif isinstance(command, orders.Log):
                assert {one.session for one in command.ranges} == {SESSION & 0xFF}
                self._wanted = deque(fcnt for one in command.ranges for fcnt in range(one.first, one.first + one.count))


@dataclasses.dataclass
class Order:
    """A downlink as the archive knows it."""

    commands: list[orders.Command]
    ticket: int
    sent_at: float | None = None
    answered: bool = False
    tries: int = 1
    heard_since: int = 0


class Nest:
    """What the nest knows of one node."""

    def __init__(self, healer: Healer) -> None:
        self.have: set[int] = set()
        self.gaps: dict[int, Gap] = {}
        self.heard: deque[int] = deque(maxlen=100)
        self.orders: list[Order] = []
        self.newest = -1
        self.healer = healer
        self.arrived_at: float | None = None
        self.came = {"heard": 0, "recovered": 0, "backfilled": 0}
        self._parity = 1
        self._calm: deque[tuple[float, float | None]] = deque()

    def receive(self, now: float, fcnt: int, answer: int | None, earlier: list[int], parity: int) -> None:
        for missing in range(self.newest + 1, fcnt):
            self.gaps[missing] = Gap(SESSION, missing, 0, missing * INTERVAL_S, now)
        self.newest = fcnt
        self.heard.append(fcnt)
        self._have(fcnt, "heard")
        for slot in self.healer.heard(fcnt, parity):
            self._have(slot, "recovered")
        for slot in earlier:
            if slot not in self.have:
                self.arrived_at = now
                self._have(slot, "backfilled")
        for order in self.orders:
            order.answered |= order.ticket == answer and order.sent_at is not None
            order.heard_since += order.sent_at is not None

    def _have(self, slot: int, how: str) -> None:
        if slot not in self.have:
            self.have.add(slot)
            self.came[how] += 1
            self.gaps.pop(slot, None)

    def situation(self, now: float) -> Situation:
        loss = backfill.loss(self.heard, self.newest, self.heard[0])
        self._calm.append((now, loss))
        while self._calm[0][0] < now - DAY_S:
            self._calm.popleft()
        day = [share for _, share in self._calm]
        steady = None if None in day or now < DAY_S else max(share or 0.0 for share in day)
        sent = [now if order.sent_at is None else order.sent_at for order in self.orders]
        requests = [
            now if order.sent_at is None else order.sent_at
            for order in self.orders
            if any(isinstance(command, orders.Log) for command in order.commands)
        ]
        return Situation(
            now, SESSION, self.newest, INTERVAL_S, loss, steady, self._parity, sent, sent,
            any(order.sent_at is None for order in self.orders), requests[-1] if requests else None, self.arrived_at,
        )  # fmt: skip

    def plan(self, now: float) -> None:
        at = self.situation(now)
        found = backfill.plan(self.gaps.values(), at)
        for gap in found.lost:
            del self.gaps[gap.fcnt]
        for gap in found.asked:
            self.gaps[gap.fcnt] = dataclasses.replace(gap, asked=gap.asked + 1, asked_at=now)
        commands: list[orders.Command] = []
        if found.parity is not None:
            self._parity = found.parity
            commands.append(orders.Parity(found.parity))
        if found.ranges:
            commands.append(orders.Log(found.ranges))
        if commands:
            self._order(commands, 1)
        elif backfill.may_send(at):
            self._again(now)

    def _again(self, now: float) -> None:
        """A setting that was not answered is sent again."""
        for order in self.orders[-3:]:
            settings = [command for command in order.commands if isinstance(command, orders.Parity)]
            if not settings or order.answered or order.sent_at is None or order.heard_since < 2:
                continue
            if order is self.orders[-1] and now > order.sent_at + RETRY_S[min(order.tries, len(RETRY_S)) - 1]:
                self._order([*settings], order.tries + 1)

    def _order(self, commands: list[orders.Command], tries: int) -> None:
        self.orders.append(Order(commands, len(self.orders) % 255 + 1, tries=tries))

    def downlink(self, now: float) -> bytes | None:
        for order in self.orders[-1:]:
            if order.sent_at is None:
                order.sent_at = now
                return orders.encode(order.ticket, order.commands)
        return None


@dataclasses.dataclass(frozen=True)
class Result:
    """Of `slots` readings `missing` are not in the archive. Downlinks a day on average, most in any 24 h."""

    slots: int
    missing: int
    average: float
    most: int
    came: dict[str, int]
    first_request: int  # slots in the first request after the outage
    lost_in_outage: int


def run(
    seed: int,
    *,
    days: int = 30,
    lost: float | Callable[[random.Random], Iterator[bool]] = 0.3,
    down_loss: float = 0.3,
    outage_slots: int = 96,
    exact: bool = False,
) -> Result:
    """One node. `lost`: share of frames lost, or an endless series of what is lost. `exact`: with real frames."""
    draw = random.Random(seed)  # noqa: S311  a simulation
    node, nest = Node(), Nest(Exact() if exact else Healer())
    losses = lost(draw) if callable(lost) else (draw.random() < lost for _ in itertools.count())
    slots = round(days * DAY_S / INTERVAL_S)
    outage = draw.randrange(200, slots - 960)
    silent = range(outage, outage + outage_slots)
    heard_at = 0.0
    asked: int | None = None
    for slot in range(slots + round(LATER_S / INTERVAL_S)):
        now = slot * INTERVAL_S
        fcnt, answer, earlier = node.frame()
        nest.healer.sent(fcnt, node.parity)
        if not next(losses) and slot not in silent:
            heard_at = now
            nest.receive(now, fcnt, answer, earlier, node.parity)
            downlink = nest.downlink(now)
            if downlink is not None and draw.random() >= down_loss:
                node.take(downlink)
        if now - heard_at <= 2 * INTERVAL_S and nest.newest >= 0:
            before = len(nest.orders)
            nest.plan(now + 60)
            if asked is None and slot > silent.stop and len(nest.orders) > before:
                gaps = [gap for gap in nest.gaps.values() if gap.asked and gap.fcnt in silent]
                asked = len(gaps) or None
    sent = sorted(order.sent_at for order in nest.orders if order.sent_at is not None)
    most = max((sum(at - DAY_S < other <= at for other in sent) for at in sent), default=0)
    missing = sum(slot not in nest.have for slot in range(slots))
    average = len(sent) / (days + LATER_S / DAY_S)
    return Result(slots, missing, average, most, nest.came, asked or 0, len(silent))


def bursts(share: float, mean: float) -> Callable[[random.Random], Iterator[bool]]:
    """Gilbert-Elliott: a bad state that loses everything, `mean` frames long; the good one loses 2 %."""

    def series(draw: random.Random) -> Iterator[bool]:
        bad_share = (share - 0.02) / 0.98
        into_bad = bad_share / (1 - bad_share) / mean
        bad = False
        while True:
            bad = draw.random() < (1 - 1 / mean if bad else into_bad)
            yield bad or draw.random() < 0.02

    return series


CHANNELS: dict[str, float | Callable[[random.Random], Iterator[bool]]] = {
    "30 %": 0.3,
    "real frames, 30 %": 0.3,
    "50 %": 0.5,
    "30 %, bursts of 8": bursts(0.3, 8),
    "30 %, bursts of 48": bursts(0.3, 48),
}


EXACT = "real frames, 30 %"


def _of(case: tuple[str, int]) -> tuple[str, Result]:
    channel, seed = case
    return channel, run(seed, lost=CHANNELS[channel], exact=channel == EXACT)


def rows(seeds: range = range(1, 21)) -> Iterator[tuple[str, str, str]]:
    """Twenty nodes for each channel; what is asked is asked of the first two."""
    with ProcessPoolExecutor(2) as pool:
        done = list(pool.map(_of, [(channel, seed) for channel in CHANNELS for seed in seeds]))
    for number, channel in enumerate(CHANNELS):
        of = [result for name, result in done if name == channel]
        slots, missing = sum(one.slots for one in of), sum(one.missing for one in of)
        asked = (">= 99.99 %", "<= 2", "<= 10") if number < 2 else ("", "", "")
        came = [
            100 * sum(one.came[how] for one in of) / sum(sum(one.came.values()) for one in of) for how in of[0].came
        ]
        yield f"{channel} lost, a day silent: in the archive", asked[0], f"{100 * (1 - missing / slots):.4f} %"
        yield "  heard, recovered, backfilled", "", ", ".join(f"{share:.2f} %" for share in came)
        average, worst = sum(one.average for one in of) / len(of), max(one.average for one in of)
        yield "  downlinks per node and day; of the node with most", asked[1], f"{average:.2f}; {worst:.2f}"
        yield "  most downlinks in 24 h", asked[2], str(max(one.most for one in of))


if __name__ == "__main__":
    chosen = [int(word) for word in sys.argv[1:]]
    for seed in chosen:
        print(seed, run(seed))
    for figure, wanted, measured in () if chosen else rows():
        print(f"{figure:<58} asked {wanted:<14} measured {measured}")
