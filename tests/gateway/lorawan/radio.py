"""A network server with a clock, gateways and a memory that outlives it, for the scenarios of the tests.

It keeps what the effects say must be kept, as it is at that moment, and nothing else; `restart()` makes a new server
from that alone. It also watches the promises that hold for every list of effects.
"""

from __future__ import annotations

import random
from dataclasses import replace

from nest.lorawan import (
    Count,
    DownlinkOutcome,
    Effect,
    MergeCopy,
    NetworkServer,
    Publish,
    SendDownlink,
    Settings,
    StoreJoin,
    StoreLate,
    StoreSession,
    StoreStatus,
    StoreUplink,
)
from nest.model import Device, Downlink, Heard, JoinRecord, RadioFrame, SessionState, Uplink

from .device import EndDevice

NEAR, FAR = "aa" * 8, "bb" * 8


class Radio:
    def __init__(self, *devices: EndDevice, settings: Settings | None = None, rising: bool = True) -> None:
        self.settings = settings or Settings()
        self.devices = [Device(d.dev_eui, d.join_eui, d.app_key, f"spatz-{d.dev_eui[-1]}", rising) for d in devices]
        self.now = 1000.0
        self.joins: list[JoinRecord] = []
        self.sessions: dict[tuple[bytes, int], SessionState] = {}
        self.frames: dict[tuple[bytes, int, int], Uplink] = {}
        self.published: list[Uplink] = []
        self.outcomes: list[tuple[int | None, str]] = []
        self.sent: list[Downlink] = []
        self.statuses: list[tuple[bytes, int, int]] = []
        self._down: dict[tuple[bytes, int, int], bytes] = {}
        self.restart()

    def restart(self) -> None:
        sessions = [replace(session) for session in self.sessions.values()]  # the server's own from now on
        self.server = NetworkServer(self.settings, self.devices, sessions, self.joins, random.Random(1))  # noqa: S311

    def hear(
        self,
        phy: bytes,
        gateway: str = NEAR,
        *,
        snr: float | None = 5.0,
        rssi: float = -90.0,
        tmst: int | None = 1_000_000,
        freq_hz: int = 868_100_000,
        sf: int = 7,
        bw_hz: int = 125_000,
        crc_ok: bool | None = True,
        held_s: float | None = None,
    ) -> list[str]:
        """One reception now, or one that the gateway has held back for `held_s`. Returns the kinds counted."""
        at = self.now + 1.7e9 - (held_s or 0.0)
        held = held_s is not None
        frame = RadioFrame(phy, gateway, at, freq_hz, sf, bw_hz, rssi, snr, tmst, crc_ok, held)
        return self.carry_out(self.server.receive(frame, self.now))

    def after(self, seconds: float) -> list[str]:
        """Let time pass; the server is woken when it asked for it."""
        end, kinds = self.now + seconds, []
        while (due := self.server.next_deadline()) is not None and due <= end:
            self.now = max(due, self.now)
            kinds += self.carry_out(self.server.poll(self.now))
        self.now = end
        return kinds

    def refuse(self, downlink: Downlink, error: str | None = "COLLISION_PACKET") -> list[str]:
        """The gateway's word on a downlink."""
        return self.carry_out(self.server.transmit_result(downlink, error, self.now))

    def join(self, device: EndDevice) -> Downlink:
        """A whole join."""
        assert self.hear(device.join_request()) == []
        assert self.after(5) == ["join_accepted", "downlink_sent"]
        downlink = self.sent[-1]
        device.join_accept(downlink.phy)
        self.after(5)
        return downlink

    def joined(self, device: EndDevice) -> EndDevice:
        """A join and a first uplink."""
        self.join(device)
        assert self.hear(device.uplink(b"first")) == ["accepted"]
        self.after(10)
        return device

    def carry_out(self, effects: list[Effect]) -> list[str]:
        kinds = []
        for effect in effects:
            match effect:
                case StoreJoin(record, session):
                    assert (record.dev_eui, record.join_nonce) not in self.sessions
                    for key, other in list(self.sessions.items()):
                        if key[0] == record.dev_eui and not other.active:
                            del self.sessions[key]
                    self.joins.append(record)
                    self._keep(session)
                case StoreUplink(uplink, session, activates):
                    key = (session.dev_eui, session.join_nonce, uplink.fcnt)
                    assert key not in self.frames, "stored twice"
                    assert uplink.fcnt == session.fcnt_up
                    self.frames[key] = uplink
                    if activates:
                        self.sessions = {k: v for k, v in self.sessions.items() if k[0] != session.dev_eui}
                    self._keep(session)
                case StoreLate(uplink, session):
                    key = (session.dev_eui, session.join_nonce, uplink.fcnt)
                    if key not in self.frames:
                        self.frames[key] = uplink
                        kinds.append("late_frame")  # which whoever stores it counts
                case MergeCopy(dev_eui, join_nonce, fcnt, heard):
                    self._merge((dev_eui, join_nonce, fcnt), heard)
                case StoreSession(session):
                    self._keep(session)
                case StoreStatus(dev_eui, _, battery, margin_db):
                    self.statuses.append((dev_eui, battery, margin_db))
                case SendDownlink(downlink):
                    self._check_counter_is_used(downlink)
                    self._check_it_is_lawful(downlink)
                    if self.server.is_in_time(downlink, self.now):  # not where the node has asked to join twice at once
                        self.sent.append(downlink)
                case DownlinkOutcome(_, reference, outcome):
                    self.outcomes.append((reference, outcome))
                case Publish(uplink):
                    stored = [frame for key, frame in self.frames.items() if key[0] == uplink.dev_eui]
                    assert uplink.phy in [frame.phy for frame in stored], "published before stored"
                    self.published.append(uplink)
                case Count(kind):
                    kinds.append(kind)
        return kinds

    @staticmethod
    def _check_it_is_lawful(downlink: Downlink) -> None:
        """ERC/REC 70-03: 25 mW ERP in all sub-bands of ours, 500 mW in one."""
        channels = [(downlink.freq_hz, downlink.bw_hz, downlink.power_dbm)]
        if downlink.fallback is not None:
            freq_hz, _, bw_hz, power_dbm = downlink.fallback
            channels.append((freq_hz, bw_hz, power_dbm))
        for freq_hz, bw_hz, power_dbm in channels:
            low, high = (freq_hz - bw_hz / 2) / 1e6, (freq_hz + bw_hz / 2) / 1e6
            loud = low >= 869.4 and high <= 869.65
            bands = ((863, 865), (865, 868), (868, 868.6), (868.7, 869.2), (869.7, 870))
            assert loud or any(begin <= low and high <= end for begin, end in bands), f"{freq_hz} Hz is not ours"
            assert power_dbm <= (29.15 if loud else 16.15)

    def _keep(self, session: SessionState) -> None:
        known = self.sessions.get((session.dev_eui, session.join_nonce))
        if known is not None:
            assert session.fcnt_up >= known.fcnt_up, "FCntUp moved back"
            assert session.fcnt_down >= known.fcnt_down, "FCntDown moved back"
        self.sessions[session.dev_eui, session.join_nonce] = replace(session)

    def _merge(self, key: tuple[bytes, int, int], heard: Heard) -> None:
        uplink = self.frames[key]
        others = [entry for entry in uplink.heard if entry.gateway != heard.gateway]
        self.frames[key] = replace(uplink, heard=(*others, heard))

    def _check_counter_is_used(self, downlink: Downlink) -> None:
        if downlink.phy[0] >> 5 == 1:
            return
        stored = next(s for s in self.sessions.values() if s.dev_eui == downlink.dev_eui and s.active)
        fcnt16 = int.from_bytes(downlink.phy[6:8], "little")
        assert (stored.fcnt_down - 1 - fcnt16) & 0xFFFF < 100, "FCntDown on air before it was stored"
        fcnt = stored.fcnt_down - 1 - ((stored.fcnt_down - 1 - fcnt16) & 0xFFFF)
        before = self._down.setdefault((stored.dev_eui, stored.join_nonce, fcnt), downlink.phy)
        assert before == downlink.phy, "FCntDown on air twice"
