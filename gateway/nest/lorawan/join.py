"""Joining over the air: judging a JoinRequest and making the JoinAccept (TS001-1.0.4 section 6.2).

Every DevNonce a device has used is remembered and never accepted again; a 1.0.4 device must also count it up (6.2.2).
The JoinNonce counts up for each device and is never used twice (6.2.3), so a node can refuse a replayed JoinAccept.

A DevNonce counts as used once it is answered. A request that could not be answered has used nothing up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from nest.lorawan import crypto, eu868
from nest.lorawan.frames import JoinRequest, build_join_accept
from nest.lorawan.settings import Settings
from nest.model import Device, JoinRecord, SessionState

MAX_JOIN_NONCE = 0xFFFFFF


@dataclass(slots=True)
class _Nonces:
    used: set[int] = field(default_factory=set)
    highest: int = -1
    join_nonce: int = 0  # last given; 0 is never given, some devices take it for "none yet"


class JoinNonces:
    """What each device has used up."""

    def __init__(self) -> None:
        self._of: dict[bytes, _Nonces] = {}

    def remember(self, records: Iterable[JoinRecord]) -> None:
        """Take note of joins, in any order."""
        for record in records:
            nonces = self._of.setdefault(record.dev_eui, _Nonces())
            nonces.used.add(record.dev_nonce)
            nonces.highest = max(nonces.highest, record.dev_nonce)
            nonces.join_nonce = max(nonces.join_nonce, record.join_nonce)

    def forget_dev_nonces(self, dev_eui: bytes) -> None:
        """The device begins anew under another AppKey, which old requests do not fit; its JoinNonce still goes on."""
        nonces = self._of.get(dev_eui)
        if nonces is not None:
            nonces.used.clear()
            nonces.highest = -1

    def refusal(self, device: Device, dev_nonce: int) -> str | None:
        """Why this DevNonce is refused, as a kind of `effects.KINDS`; None when it is good."""
        nonces = self._of.get(device.dev_eui)
        if nonces is not None:
            if dev_nonce in nonces.used:
                return "dev_nonce_used"
            if device.rising_dev_nonce and dev_nonce < nonces.highest:
                return "dev_nonce_low"
        return "join_nonce_exhausted" if self.next_join_nonce(device) > MAX_JOIN_NONCE else None

    def next_join_nonce(self, device: Device) -> int:
        """Above all that the device was given, as far as is known."""
        nonces = self._of.get(device.dev_eui)
        return max(device.join_nonce_floor, 0 if nonces is None else nonces.join_nonce) + 1


def mic_is_good(device: Device, phy: bytes, request: JoinRequest) -> bool:
    """Was this JoinRequest made with the device's AppKey?"""
    return crypto.same(crypto.join_mic(device.app_key, phy[:-4]), request.mic)


def open_session(
    device: Device, request: JoinRequest, settings: Settings, join_nonce: int, dev_addr: int, joined_at: float
) -> SessionState:
    """The session that answers a JoinRequest, pending."""
    nwk_skey, app_skey = crypto.derive_session_keys(device.app_key, join_nonce, settings.net_id, request.dev_nonce)
    return SessionState(
        dev_eui=device.dev_eui,
        join_nonce=join_nonce,
        dev_addr=dev_addr,
        nwk_skey=nwk_skey,
        app_skey=app_skey,
        rx1_delay_s=settings.rx1_delay_s,
        rx1_dr_offset=settings.rx1_dr_offset,
        rx2_dr=settings.rx2_dr,
        rx2_freq_hz=eu868.RX2_FREQ_HZ,
        joined_at=joined_at,
    )


def join_accept(device: Device, session: SessionState, net_id: int) -> bytes:
    """The JoinAccept for a session, as it goes on air: 33 bytes, with the CFList of the region."""
    clear = build_join_accept(
        session.join_nonce,
        net_id,
        session.dev_addr,
        rx1_dr_offset=session.rx1_dr_offset,
        rx2_dr=session.rx2_dr,
        rx_delay_s=session.rx1_delay_s,
        cf_list=eu868.cf_list(),
    )
    mic = crypto.join_mic(device.app_key, clear)
    return clear[:1] + crypto.encrypt_join_accept(device.app_key, clear[1:] + mic)
