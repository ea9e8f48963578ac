"""Where and when a downlink can be sent: the receive windows of a class A device (TS001-1.0.4 section 3.3).

An answer is planned once as a list of attempts, best first. When a gateway refuses one (TX_ACK with an error) the next
is tried, as long as there is time: the same bytes in the other window or through another gateway. What the duty cycle
and other transmissions of a gateway forbid is left to the gateway to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nest.lorawan import eu868
from nest.lorawan.dedup import Copy
from nest.lorawan.sessions import QueuedDownlink, Session
from nest.model import Downlink, SessionState

PHY_OVERHEAD = 5  # MHDR and MIC; the rest is the MACPayload that a data rate limits
LEAD_S = 0.05  # a gateway must have a downlink at least this long before it starts


@dataclass(frozen=True, slots=True)
class Windows:
    """A device's receive windows after an uplink. RX2 opens one second after RX1."""

    rx1_delay_s: int
    rx1_dr_offset: int
    rx2_dr: int
    rx2_freq_hz: int

    @classmethod
    def of(cls, session: SessionState) -> Windows:
        return cls(session.rx1_delay_s, session.rx1_dr_offset, session.rx2_dr, session.rx2_freq_hz)


JOIN_WINDOWS = Windows(eu868.JOIN_ACCEPT_DELAY_S[0], 0, eu868.RX2_DR, eu868.RX2_FREQ_HZ)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to send: gateway, window, channel. `starts_at` is on the server's clock, `tmst` on the gateway's."""

    gateway: str
    window: int
    tmst: int
    starts_at: float
    freq_hz: int
    dr: int

    @property
    def max_phy(self) -> int:
        """The longest PHYPayload in bytes at this data rate."""
        return eu868.MAX_MAC_PAYLOAD[self.dr] + PHY_OVERHEAD

    def downlink(self, phy: bytes, dev_eui: bytes, eirp_dbm: float, number: int) -> Downlink:
        sf, bw_hz = eu868.DATA_RATES[self.dr]
        limit = eu868.max_eirp_dbm(self.freq_hz)
        power = eirp_dbm if limit is None else min(eirp_dbm, limit)
        return Downlink(self.gateway, self.tmst, self.freq_hz, sf, bw_hz, power, phy, dev_eui, self.window, number)


@dataclass(slots=True)
class Outgoing:
    """A frame on its way to a gateway, what is left to try, and what it was for."""

    phy: bytes
    dev_eui: bytes
    attempts: list[Attempt]
    session: Session | None = None  # None for a JoinAccept
    item: QueuedDownlink | None = None
    until: float = 0.0  # forgotten after this


def window_order(wish: int) -> tuple[int, ...]:
    """Which windows to try, first to last. Whoever wishes RX2 wants to spare the uplink channels, so not RX1 then."""
    return (1, 2) if wish == 1 else (2,)


def plan(copies: Sequence[Copy], windows: Windows, order: Sequence[int]) -> list[Attempt]:
    """All attempts for an uplink with these copies (strongest first): the strongest gateway in each window, then the
    other gateways in the last window, where there is most time left. A gateway that gave no `tmst` cannot answer."""
    able = [(copy, copy.frame.tmst) for copy in copies if copy.frame.tmst is not None]
    ways = [(*able[0], window) for window in order] + [(*way, order[-1]) for way in able[1:]] if able else []
    attempts = (_attempt(copy, heard_tmst, windows, window) for copy, heard_tmst, window in ways)
    return [attempt for attempt in attempts if attempt is not None]


def _attempt(copy: Copy, heard_tmst: int, windows: Windows, window: int) -> Attempt | None:
    frame = copy.frame
    if window == 1:
        delay_s, freq_hz = windows.rx1_delay_s, frame.freq_hz
        uplink_dr = eu868.DR_OF.get((frame.sf, frame.bw_hz))
        if uplink_dr is None or eu868.max_eirp_dbm(freq_hz) is None:
            return None
        dr = eu868.RX1_DR[uplink_dr][windows.rx1_dr_offset]
    else:
        delay_s, freq_hz, dr = windows.rx1_delay_s + 1, windows.rx2_freq_hz, windows.rx2_dr
    tmst = (heard_tmst + delay_s * 1_000_000) & 0xFFFFFFFF  # the counter wraps every 71.6 minutes
    return Attempt(frame.gateway, window, tmst, copy.at + delay_s, freq_hz, dr)
