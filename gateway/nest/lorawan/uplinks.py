"""From frames to what is stored and published of them: the uplink in clear, and who heard it."""

from __future__ import annotations

from collections.abc import Sequence

from nest.lorawan import crypto
from nest.lorawan.dedup import Copy
from nest.lorawan.effects import MergeCopy
from nest.lorawan.frames import CONFIRMED_UP, DataFrame
from nest.lorawan.sessions import Session
from nest.model import Heard, RadioFrame, SessionState, Uplink


def read(session: Session, data: DataFrame, fcnt: int, frame: RadioFrame) -> Uplink:
    """Decrypt a frame whose MIC is good under the 32-bit `fcnt`. It was heard once so far."""
    device, fport = session.device, data.fport
    clear = b"" if fport is None else session.cipher.crypt(crypto.UP, fcnt, fport, data.frm_payload)
    heard = Heard(frame.gateway, frame.rssi, frame.snr, frame.freq_hz, frame.received_at)
    return Uplink(
        node=device.slug,
        dev_eui=device.dev_eui,
        received_at=frame.received_at,
        fcnt=fcnt,
        fport=fport,
        payload=clear if fport else b"",
        confirmed=data.mtype == CONFIRMED_UP,
        heard=(heard,),
        sf=frame.sf,
        bw_hz=frame.bw_hz,
        freq_hz=frame.freq_hz,
        phy=frame.phy,
        mac_commands=clear if fport == 0 else data.fopts,
    )


def as_heard(uplink: Uplink, copies: Sequence[Copy]) -> Uplink:
    """The uplink with all its copies, strongest first."""
    best = copies[0].frame
    return Uplink(
        node=uplink.node,
        dev_eui=uplink.dev_eui,
        received_at=uplink.received_at,
        fcnt=uplink.fcnt,
        fport=uplink.fport,
        payload=uplink.payload,
        confirmed=uplink.confirmed,
        heard=tuple([copy.heard() for copy in copies]),
        sf=best.sf,
        bw_hz=best.bw_hz,
        freq_hz=best.freq_hz,
        phy=uplink.phy,
        mac_commands=uplink.mac_commands,
    )


def merge(session: Session, fcnt: int, frame: RadioFrame) -> MergeCopy:
    """One more reception of the session's frame `fcnt`."""
    heard = Heard(frame.gateway, frame.rssi, frame.snr, frame.freq_hz, frame.received_at)
    return MergeCopy(session.state.dev_eui, session.state.join_nonce, fcnt, heard)


OVERTAKEN_S = 900.0
"""What is repeated on its way to the nest arrives within this time; more would let a gateway that started anew (its
`tmst` begins at 0) pass for one that was early."""


def heard_before_newest(state: SessionState, frame: RadioFrame) -> float | None:
    """When a frame with an old counter was heard, if that was before the newest one: then it is late and no replay, for
    the order of counters and the order of times agree. None: they do not.

    Two clocks can tell: that of a gateway which held the frame back, and the `tmst` of the gateway that heard both.
    """
    heard_at = state.heard_at
    if frame.buffered:
        return frame.received_at if frame.received_at < heard_at else None
    if state.heard_tmst is None or frame.tmst is None or state.heard_by != frame.gateway:
        return None
    if not -OVERTAKEN_S < frame.received_at - heard_at < OVERTAKEN_S:
        return None
    earlier_s = ((state.heard_tmst - frame.tmst) & 0xFFFFFFFF) / 1e6
    return heard_at - earlier_s if 0 < earlier_s < OVERTAKEN_S else None
