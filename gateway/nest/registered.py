"""What other programs write beside a running nest, taken over into its network server: nodes and downlinks.

The command line and the admin API know the database only. Whether somebody has written is asked of SQLite, which costs
nothing; what, of the tables.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from nest import lorawan
from nest.archive import Archive
from nest.archive.downlinks import REPLACED, DownlinkQueue
from nest.archive.journal import Journal, RefusedError
from nest.model import Device
from nest.moments import now_ms
from nest.registry import Registry

_log = logging.getLogger(__name__)

_OVERLAP_MS = 2000  # what another program committed late is seen all the same


class Registered:
    """The registered nodes, as the network server knows them. `forget` is told the slugs of those that were removed."""

    def __init__(
        self,
        registry: Registry,
        archive: Archive,
        journal: Journal,
        downlinks: DownlinkQueue,
        forget: Callable[[str], None],
    ) -> None:
        self._registry, self._archive, self._journal, self._downlinks = registry, archive, journal, downlinks
        self._forget = forget
        self.devices: dict[bytes, Device] = {}
        self.closed = False
        self._synced_ms = 0

    def begin(self, settings: lorawan.Settings) -> lorawan.NetworkServer:
        """A network server with everything that is in the database."""
        self._synced_ms = now_ms()
        self._downlinks.take_back()
        self.devices = {device.dev_eui: device for device in self._registry.devices()}
        self._core = lorawan.NetworkServer(
            settings, self.devices.values(), self._archive.sessions(), self._archive.joins(), random.SystemRandom()
        )
        self._take_waiting()
        return self._core

    def look_around(self) -> None:
        """Take over what another connection has written. Costs nothing when nobody has."""
        if self.closed:
            return
        try:
            if self._journal.changed_elsewhere():
                self._sync()
        except (SQLAlchemyError, RefusedError) as error:
            _log.warning("the registry cannot be read now: %s", getattr(error, "orig", error))

    def renew(self, dev_eui: bytes) -> None:
        """A node's session has ended beside us. It may have been registered anew since, under the same key."""
        self._drop(dev_eui)
        with contextlib.suppress(SQLAlchemyError):
            device = self._registry.device(dev_eui)
            if device is not None:
                self._add(device)

    def _sync(self) -> None:
        now = now_ms()
        # a clock that was set back: everything may have changed since
        since = self._synced_ms - _OVERLAP_MS if now >= self._synced_ms else 0
        before, self._synced_ms = self._synced_ms, now
        try:
            changed, removed = self._registry.changed_since(since)
            for device in changed:
                known = self.devices.get(device.dev_eui)
                if device == known:  # at most its numbers have risen
                    self._core.add_device(device, self._archive.joins(device.dev_eui))
                    continue
                if known is not None and self._registry.sessions_of(device.dev_eui):
                    self.devices[device.dev_eui] = device
                    self._core.change_key(device)  # the node does not know it yet, and goes on meanwhile
                    continue
                self._drop(device.dev_eui)
                self._add(device)
            for dev_eui in removed:
                if slug := self._drop(dev_eui):
                    self._forget(slug)
            self._take_waiting()
        except BaseException:
            self._synced_ms = before
            raise

    def _take_waiting(self) -> None:
        """Hand what was ordered for nodes to the network server, and take back what is no longer wanted."""
        for downlink in self._downlinks.withdrawn():
            if self._core.withdraw(downlink.dev_eui, downlink.id):  # else it is on its way, and its outcome comes
                self._downlinks.set_state(downlink.id, REPLACED)
        for downlink in self._downlinks.take():
            try:
                self._core.enqueue(
                    downlink.dev_eui,
                    downlink.port,
                    downlink.payload,
                    downlink.confirmed,
                    window=downlink.window,
                    reference=downlink.id,
                )
            except (ValueError, lorawan.UnknownDeviceError) as error:
                _log.warning("downlink %d is refused: %s", downlink.id, error)
                with contextlib.suppress(SQLAlchemyError):  # else it is refused at the next start
                    self._downlinks.set_state(downlink.id, "refused")

    def _add(self, device: Device) -> None:
        self.devices[device.dev_eui] = device
        self._core.add_device(device, self._archive.joins(device.dev_eui))

    def _drop(self, dev_eui: bytes) -> str | None:
        """Forget a device; its slug."""
        device = self.devices.pop(dev_eui, None)
        if device is None:
            return None
        self._core.remove_device(dev_eui)
        return device.slug
