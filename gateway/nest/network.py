"""The engine: takes what gateways heard to the network server, and carries out what that wants done.

Without sockets and without timers: forwarders hand frames in and say when a burst is over, `due` tells when `poll` is
wanted, `send` takes downlinks out. Everything runs in one thread, but for the wait for the disk.

**One transaction for a burst.** What is to be stored is collected and written at once, at most `COLLECT_S` late. Only
then gateways get their acknowledgements, downlinks go out and readings are published: acknowledged means on the disk.

**A database that refuses** (busy, full) loses nothing: the collected effects wait, in their order, and are tried again.
The network server goes on meanwhile, but nothing of it is seen outside. When too much waits, frames are not taken any
more, and gateways that keep what was not acknowledged keep it.
"""

from __future__ import annotations

import concurrent.futures
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Protocol

from nest import lorawan
from nest.archive import Archive
from nest.archive.changes import Change
from nest.archive.downlinks import DownlinkQueue
from nest.archive.journal import Committed, Journal, RefusedError, ReplacedError
from nest.live import Live, ReadingEvent
from nest.lorawan import effects
from nest.model import Downlink, RadioFrame, Uplink
from nest.recovery import Recovery, Stored
from nest.registered import Registered
from nest.registry import Registry

_log = logging.getLogger(__name__)

COLLECT_S = 0.010  # how long an effect waits for others to share its transaction
COLLECT_MOST = 64  # effects; with so many the transaction costs each of them little
MOST_WAITING = 20_000  # effects kept while the database refuses, about 20 MB
RETRY_S = 0.25  # how soon a database that refused is asked again
HEAL_S, HEAL_EVERY_S = 0.005, 0.05  # so long, so often, healing begins with sessions: downlinks cannot wait for more

_JOIN_REQUEST_SIZE = 23  # MHDR 1, JoinEUI 8, DevEUI 8, DevNonce 2, MIC 4 (TS001-1.0.4 section 6.2.2)
_JOIN_REQUEST_MHDR = 0x00

# kinds counted here, beside those of nest.lorawan.effects.KINDS
KINDS = {
    "readings": "uplink decoded to a reading",
    "no_reading": "uplink stored, on an fPort that carries no reading",
    "undecodable": "uplink stored, but its payload cannot be decoded",
    "not_stored": "a transaction that the database refused (busy, full); it was tried again",
    "not_taken": "frame not taken and not acknowledged, because the database has refused for too long",
    "broken": "something the database will never take, left out; see the log",
    "recovered": "reading of a lost frame, recovered from the parity of others",
    "backfilled": "reading that was missing, taken from the node's log",
    "healing_wrong": "recovered reading that differs from its frame, which came late; report this",
}

# frames of these kinds do not speak for their gateway: they are a neighbour's, noise, or forged
USELESS = frozenset(
    {
        "crc_bad",
        "malformed",
        "unexpected_type",
        "unknown_device",
        "unknown_session",
        "mic_bad",
        "replay",
        "dev_nonce_used",
        "dev_nonce_low",
    }
)

_OUTWARD = (effects.SendDownlink, effects.Publish)


@dataclass(slots=True)
class _Work:
    """What one transaction is about."""

    batch: list[effects.Stored | Change]
    after: list[effects.SendDownlink | effects.Publish]  # what stands behind the batch
    acknowledge: list[Callable[[], None]]
    mark: int
    done: Committed | None = None


class Publisher(Protocol):
    """Where stored readings go to be published."""

    @property
    def done(self) -> int:
        """Everything up to this number is published for good."""
        ...

    def offer(self, items: Sequence[tuple[int, ReadingEvent]]) -> None:
        """Readings that have just been stored, with their numbers in the outbox."""

    def heard(self, uplink: Uplink) -> None:
        """By whom an uplink was heard."""

    def forget(self, slug: str) -> None:
        """A node was removed."""


class Network:
    """A `NetworkServer` with everything it needs around it. Restores its sessions and nonces from the archive.

    `send` gives a downlink to its gateway's forwarder, False: there is no way. `replaced` is called when another
    database has taken the place of ours: nothing is taken from then on, a new Network must be made. `clock` is a steady
    clock in seconds. `executor` (of one thread): there the disk is waited for; `wake` is called from that thread when
    `finish` is wanted. Without one everything waits.
    """

    def __init__(
        self,
        settings: lorawan.Settings,
        registry: Registry,
        archive: Archive,
        journal: Journal,
        downlinks: DownlinkQueue,
        publisher: Publisher,
        live: Live,
        send: Callable[[Downlink], bool],
        replaced: Callable[[], None],
        counters: Counter[str],
        clock: Callable[[], float] = time.monotonic,
        executor: Executor | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._journal, self._publisher, self._live, self._send, self._clock = journal, publisher, live, send, clock
        self._replaced, self._closed = replaced, False
        self._executor, self._wake = executor, wake
        self._future: Future[None] | None = None  # while it is waited for the disk
        self._under_way: _Work | None = None
        self.counters = counters
        self.trouble: str | None = None  # why the database refuses, while it does
        self._batch: list[effects.Stored | Change] = []
        self._after: list[effects.SendDownlink | effects.Publish] = []  # what stands behind the batch
        self._acknowledge: list[Callable[[], None]] = []
        self._commit_at: float | None = None
        self._mark = publisher.done
        self._recovery = Recovery(archive.recent_frames)
        self._heal_at: float | None = None  # when healing goes on with what waits there
        self._registered = Registered(registry, archive, journal, downlinks, publisher.forget)
        self.core = self._registered.begin(settings)

    @property
    def nodes(self) -> int:
        """How many are registered."""
        return len(self._registered.devices)

    @property
    def waiting(self) -> int:
        """How many effects wait for the database."""
        return len(self._batch) + (len(self._under_way.batch) if self._under_way is not None else 0)

    # -- from the forwarders

    def receive(self, frames: Sequence[RadioFrame], stored: Callable[[], None] | None = None) -> int | None:
        """Take receptions. Returns how many were ours, or None: not taken, for the database has refused too long.

        `stored` is called when everything that came of them is on the disk.
        """
        if self._closed or len(self._batch) >= MOST_WAITING:  # it refuses, or hangs without a word
            self.counters["not_taken"] += len(frames)
            return None
        useful = 0
        now = self._clock()
        for frame in frames:
            phy = frame.phy
            if len(phy) == _JOIN_REQUEST_SIZE and phy[0] == _JOIN_REQUEST_MHDR:
                self._registered.look_around()
            useful += self._take(self.core.receive(frame, now))
        if stored is not None:
            if useful and (self._batch or self._future is not None):
                self._acknowledge.append(stored)
            else:
                stored()
        if self._batch and self._commit_at is None:
            self._commit_at = now + COLLECT_S
        return useful

    def drained(self) -> None:
        """The burst is over: write what is worth a transaction, leave the rest to `poll`."""
        if not self._idle:
            return
        if self._after and not self._batch:
            self.commit()
        elif self._commit_at is not None and self.trouble is None:
            enough = len(self._batch) >= COLLECT_MOST
            if enough or self._clock() >= self._commit_at:
                self.commit()

    def transmit_result(self, downlink: Downlink, error: str | None, window: int | None = None) -> None:
        """Take what a gateway said about a downlink; `window` where it chose that itself."""
        self._take(self.core.transmit_result(downlink, error, self._clock(), window))
        self.commit()

    # -- by the clock

    def due(self) -> float | None:
        """When `poll` has something to do, on the clock; None: nothing waits."""
        moments = [self.core.next_deadline(), self._heal_at]
        if self._idle:
            moments.append(self._commit_at)
        return min((moment for moment in moments if moment is not None), default=None)

    def poll(self) -> None:
        """Do what is due."""
        now = self._clock()
        deadline = self.core.next_deadline()
        if deadline is not None and deadline <= now:
            if self._future is None:  # else it would wait for the disk as well
                self._registered.look_around()
            self._take(self.core.poll(now))
        if self._heal_at is not None and self._heal_at <= now:
            self._heal((), HEAL_S)
        if self.trouble is None or self._commit_at is None or now >= self._commit_at:
            self.commit(mark_only=self.trouble is not None)  # a mark alone may have been refused

    def keep_house(self) -> None:
        """Once in a while: see what others have changed, and note how far publishing has come."""
        if self._future is None:
            self._registered.look_around()
        if not self._batch and self._publisher.done != self._mark:
            self.commit(mark_only=True)

    # -- the transaction, and what stands behind it

    def commit(self, *, mark_only: bool = False) -> None:
        """Write what waits; then acknowledge, send and publish. When the database refuses, all of it waits on.

        With an executor the disk is waited for there: `finish` is asked for when it is done, and what comes meanwhile
        is for the next transaction.
        """
        while self._idle and (self._batch or self._after or self._acknowledge or mark_only):
            mark_only = False
            mark = self._publisher.done
            work = _Work(self._batch, self._after, self._acknowledge, mark)
            if not work.batch and mark == self._mark:
                self._begun(work)
                self._carry_on(work)
                continue
            try:
                work.done = self._journal.begin(work.batch, mark if mark != self._mark else None)
            except RefusedError as refused:
                self._refused(str(refused))
                return
            except ReplacedError:
                self._close()
                return
            self._begun(work)
            self._under_way = work
            if self._executor is not None:
                self._future = self._executor.submit(self._journal.finish)
                self._future.add_done_callback(lambda _: self._wake())
                return
            try:
                self._journal.finish()
            except RefusedError as refused:
                self._take_back(str(refused))
                return
            self._carry_on(work)

    def finish(self) -> None:
        """What was to be on the disk is there, or refused: go on. Called where `wake` has asked for it."""
        future = self._future
        if future is None or not future.done():
            return  # `flush` was quicker
        self._future = None
        try:
            future.result()
        except Exception as refused:  # whatever it is: nothing was written, and all of it is still here
            self._take_back(str(refused))
            return
        if self._under_way is not None:
            self._carry_on(self._under_way)
        self.commit()

    def flush(self) -> None:
        """Everything to the disk, before the end."""
        while self._future is not None or (self.trouble is None and self._batch):
            if self._future is None:
                self.commit()
            if self._future is not None:
                concurrent.futures.wait([self._future])
                self.finish()

    def end(self) -> None:
        """Everything to the disk, and nothing more: a timer may still fire while the other parts close."""
        self.flush()
        self._closed = True

    @property
    def _idle(self) -> bool:
        return self._future is None and not self._closed

    def _begun(self, work: _Work) -> None:
        """From now on what comes is for the next transaction."""
        self._batch, self._after, self._acknowledge, self._commit_at = [], [], [], None

    def _take_back(self, reason: str) -> None:
        """It is not on the disk: what was begun waits again, before what has come since."""
        work, self._under_way = self._under_way, None
        if work is not None:
            self._batch[:0], self._after[:0], self._acknowledge[:0] = work.batch, work.after, work.acknowledge
        self._refused(reason)

    def _carry_on(self, work: _Work) -> None:
        """`work` is on the disk: now it may be seen outside."""
        self._under_way = None
        if work.done is not None:
            self._mark = work.mark
            self._recovered(len(work.batch))
        for stored in work.acknowledge:
            with _one_of_many():
                stored()
        done = work.done
        if done is not None:
            self._count_stored(done)
            for dev_eui in done.ended:
                self._registered.renew(dev_eui)
            if done.readings:
                self._publisher.offer(done.readings)
                if self._live.subscribers:
                    for _, event in done.readings:
                        self._live.publish(event)
        for effect in work.after:
            with _one_of_many():
                if isinstance(effect, effects.Publish):
                    self._publisher.heard(effect.uplink)
                elif not (self.core.is_in_time(effect.downlink, self._clock()) and self._send(effect.downlink)):
                    self._take(self.core.transmit_result(effect.downlink, "NO_DOWNLINK_PATH", self._clock(), None))
        if done is not None and done.decoded:
            self._heal(done.decoded)

    def _heal(self, stored: Sequence[Stored], seconds: float = 0.0) -> None:
        """What was stored may have brought lost readings back; they are for the next transaction."""
        found = [] if self._closed else self._recovery.take(stored, seconds)
        now = self._clock()
        self._heal_at = now + HEAL_EVERY_S if self._recovery.waiting and not self._closed else None
        if found:
            self._batch += found
            if self._commit_at is None:
                self._commit_at = now + COLLECT_S

    def _refused(self, reason: str) -> None:
        self.counters["not_stored"] += 1
        if self.trouble is None:
            _log.error("the database refuses (%s); everything is kept and tried again", reason)
        self.trouble = reason
        self._commit_at = self._clock() + RETRY_S

    def _close(self) -> None:
        """Our counters are another database's: nothing of ours may be written, sent or acknowledged any more."""
        _log.warning("another database stands in the place of ours (a backup was restored); starting anew from it")
        self._closed = self._registered.closed = True
        self._batch, self._after, self._acknowledge, self._commit_at = [], [], [], None
        self._replaced()

    def _recovered(self, waited: int) -> None:
        if self.trouble is not None:
            _log.warning("the database takes again; %d effects had waited", waited)
            self.trouble = None

    def _count_stored(self, done: Committed) -> None:
        for kind, count in (
            ("readings", len(done.readings)),
            ("no_reading", done.no_reading),
            ("undecodable", done.undecodable),
            ("late_frame", done.late),
            ("unknown_session", len(done.ended)),
            ("broken", len(done.failed)),
            ("recovered", done.recovered),
            ("backfilled", done.backfilled),
            ("healing_wrong", done.healing_wrong),
        ):
            if count:
                self.counters[kind] += count

    def _take(self, wanted: list[effects.Effect]) -> int:
        """Sort effects by when they can be done; 1 when they speak for a frame of ours."""
        useful = 1
        for effect in wanted:
            if isinstance(effect, effects.Count):
                self.counters[effect.kind] += 1
                if effect.kind in USELESS:
                    useful = 0
            elif isinstance(effect, _OUTWARD):
                self._after.append(effect)
            else:
                self._batch.append(effect)
        return useful


class _one_of_many:  # noqa: N801  reads as a word in a `with`; a class, for it is passed thousands of times a second
    """An error in one of them is logged and does not keep the others from being done."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if isinstance(error, Exception):
            _log.error("what is on the disk could not be told", exc_info=error)
            return True
        return False
