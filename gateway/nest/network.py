"""Carries out what the network server wants done: archive, queue of downlinks, forwarder, live events.

Synchronous and without sockets: the forwarder hands frames in, `send` takes downlinks out. The order of effects is the
network server's promise (`nest.lorawan.effects`); when one cannot be carried out, nor are those behind it, and the
network server is told (`not_done`).
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from nest import lorawan
from nest.archive import Archive
from nest.archive.downlinks import QUEUED, DownlinkQueue
from nest.archive.storing import SessionEndedError
from nest.live import Live
from nest.lorawan import effects
from nest.model import Downlink, RadioFrame
from nest.registry import Registry

_log = logging.getLogger(__name__)

_JOIN_REQUEST_SIZE = 23  # MHDR 1, JoinEUI 8, DevEUI 8, DevNonce 2, MIC 4 (TS001-1.0.4 section 6.2.2)
_JOIN_REQUEST_MHDR = 0x00

# kinds counted here, beside those of nest.lorawan.effects.KINDS
KINDS = {
    "readings": "uplink decoded to a reading",
    "no_reading": "uplink stored, on an fPort that carries no reading, or undecodable",
    "not_stored": "the database refused: disk full or broken",
}


class Network:
    """A `NetworkServer` with everything it needs around it. Restores its sessions and nonces from the archive."""

    def __init__(
        self,
        settings: lorawan.Settings,
        registry: Registry,
        archive: Archive,
        downlinks: DownlinkQueue,
        live: Live,
        send: Callable[[Downlink], bool],
        counters: Counter[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry, self._archive, self._downlinks, self._live = registry, archive, downlinks, live
        self._send, self._clock = send, clock
        self.counters = counters
        self._devices = {device.dev_eui: device for device in registry.devices()}
        self._stored: dict[bytes, int] = {}  # PHYPayload -> frame number, until its deduplication window closes
        self._to_decode: deque[int] = deque()  # frame numbers; more than one only while the database refuses
        self._dropped: list[str] = []  # slugs, until `forget_removed` has told of them
        self._server = lorawan.NetworkServer(
            settings, self._devices.values(), archive.sessions(), archive.joins(), random.SystemRandom()
        )
        downlinks.take_back()
        self._carry = {
            effects.StoreJoin: self._store_join,
            effects.StoreUplink: self._store_uplink,
            effects.MergeCopy: self._merge_copy,
            effects.StoreDownlinkCounter: self._store_downlink_counter,
            effects.SendDownlink: self._send_downlink,
            effects.DownlinkOutcome: self._downlink_outcome,
            effects.Publish: self._publish,
            effects.Count: self._count,
        }

    def receive(self, frame: RadioFrame) -> None:
        """Take one reception from a forwarder."""
        try:
            self._meet(frame.phy)
        except SQLAlchemyError as error:
            self._not_stored(error)
            return
        self._carry_out(self._server.receive(frame, self._clock()))

    def transmit_result(self, downlink: Downlink, error: str | None) -> None:
        """Take what a gateway said about a downlink."""
        self._carry_out(self._server.transmit_result(downlink, error, self._clock()))

    def poll(self) -> None:
        """Do what is due."""
        self._carry_out(self._server.poll(self._clock()))

    def seconds_to_wait(self) -> float | None:
        """How long until `poll` has something to do; None: nothing waits."""
        deadline = self._server.next_deadline()
        return None if deadline is None else max(0.0, deadline - self._clock())

    def forget_removed(self, since: float) -> list[str]:
        """Drop the nodes that were removed at or after `since` (Unix s); their slugs."""
        for dev_eui in self._registry.removed_since(since):
            self._drop(dev_eui)
        removed = set(self._registry.removed_slugs()) if self._dropped else set()
        slugs, self._dropped = [slug for slug in self._dropped if slug in removed], []
        return slugs

    def decode_stored(self) -> None:
        """Decode and publish the frames whose time has come; those that the database refuses stay for the next call.

        Raises SQLAlchemyError: the database refuses.
        """
        while self._to_decode:
            event = self._archive.decode(self._to_decode[0])
            self._to_decode.popleft()
            self.counters["no_reading" if event is None else "readings"] += 1
            if event is not None:
                self._live.publish(event)

    def _meet(self, phy: bytes) -> None:
        """At a JoinRequest, ask the registry: the node may be new, or have another key, since the nest was started."""
        if len(phy) != _JOIN_REQUEST_SIZE or phy[0] != _JOIN_REQUEST_MHDR:
            return
        dev_eui = phy[16:8:-1]
        device = self._registry.device(dev_eui)
        if device != self._devices.get(dev_eui):
            self._drop(dev_eui)
            if device:
                self._devices[dev_eui] = device
                self._server.add_device(device, self._archive.joins(dev_eui))

    def _drop(self, dev_eui: bytes) -> None:
        if device := self._devices.pop(dev_eui, None):
            self._server.remove_device(dev_eui)
            self._dropped.append(device.slug)

    def _carry_out(self, wanted: Sequence[effects.Effect]) -> None:
        refused = False
        for effect in wanted:
            if refused and not isinstance(effect, effects.Publish):  # a Publish stands on what was stored before
                self._server.not_done(effect)
                continue
            try:
                self._carry[type(effect)](effect)
            except SessionEndedError as ended:
                refused = True
                self.counters["unknown_session"] += 1
                self._drop(ended.dev_eui)  # should it be registered again, its next JoinRequest says so
            except SQLAlchemyError as error:
                refused = True
                self._server.not_done(effect)
                self._not_stored(error)

    def _not_stored(self, error: SQLAlchemyError) -> None:
        self.counters["not_stored"] += 1
        _log.error("the database refuses: %s", getattr(error, "orig", error))

    def _store_join(self, effect: effects.StoreJoin) -> None:
        self._archive.store_join(effect.record, effect.session)

    def _store_uplink(self, effect: effects.StoreUplink) -> None:
        frame = self._archive.store_uplink(effect.uplink, effect.session, activates=effect.activates)
        if effect.uplink.fport:
            self._stored[effect.uplink.phy] = frame
        try:
            self._take_waiting(effect.uplink.dev_eui)
        except SQLAlchemyError as error:  # they wait; the frame is stored all the same
            self._not_stored(error)

    def _take_waiting(self, dev_eui: bytes) -> None:
        """Hand what was ordered for a node to the network server."""
        for downlink in self._downlinks.waiting(dev_eui):
            state = QUEUED
            try:
                self._server.enqueue(
                    downlink.dev_eui,
                    downlink.port,
                    downlink.payload,
                    downlink.confirmed,
                    window=downlink.window,
                    reference=downlink.id,
                )
            except (ValueError, lorawan.UnknownDeviceError) as error:
                _log.warning("downlink %d is refused: %s", downlink.id, error)
                state = "refused"
            self._downlinks.set_state(downlink.id, state)

    def _merge_copy(self, effect: effects.MergeCopy) -> None:
        self._archive.merge_copy(effect.dev_eui, effect.join_nonce, effect.fcnt, effect.heard)

    def _store_downlink_counter(self, effect: effects.StoreDownlinkCounter) -> None:
        self._archive.store_session(effect.session)

    def _send_downlink(self, effect: effects.SendDownlink) -> None:
        if not self._send(effect.downlink):
            self.transmit_result(effect.downlink, "NO_DOWNLINK_PATH")

    def _downlink_outcome(self, effect: effects.DownlinkOutcome) -> None:
        if effect.reference is not None:
            self._downlinks.set_state(effect.reference, effect.outcome)

    def _publish(self, effect: effects.Publish) -> None:
        if (frame := self._stored.pop(effect.uplink.phy, None)) is not None:
            self._to_decode.append(frame)
            self.decode_stored()

    def _count(self, effect: effects.Count) -> None:
        self.counters[effect.kind] += 1
