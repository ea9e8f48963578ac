"""Where and when a downlink can be sent: the receive windows of a class A device (TS001-1.0.4 section 3.3).

Every gateway that heard an uplink can answer it in RX1 and in RX2. `plan` lists these ways, `Way.cost` weighs them:

- A way on which the answer would probably not be understood comes last. A downlink reaches about as far as the uplink
  did; what the gateway sends louder than the node helps, and RX2 has a data rate of its own.
- Airtime costs, for a gateway that sends is deaf: twice as much when it has been busy for half of the last minute, and
  more the less of the sub-band's hour is left. Where both windows cost much the same, RX1 is better.
- The strongest copy's gateway answers; one that heard the node within 3 dB of it is as good, what is weaker costs more.

What is taken already, or forbidden, is the schedule's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nest.lorawan import eu868
from nest.lorawan.airtime import airtime_us
from nest.lorawan.dedup import Copy
from nest.lorawan.schedule import Schedule
from nest.model import Downlink, SessionState

PHY_OVERHEAD = 5  # MHDR and MIC; the rest is the MACPayload that a data rate limits
HANDOVER_S = 0.0425  # a gateway that gets a downlink later than this before its start cannot send it
LEAD_S = 0.1  # so long before its start a downlink must be planned: time for the way to the gateway, too
NODE_EIRP_DBM = 16.0  # TXPower 0; each step is 2 dB less
LOUD_BAND_DB = 13.0  # how much more than elsewhere is allowed in the sub-band of RX2

SURE_DB = 3.0  # above the floor: fading takes less than this most of the time
AS_STRONG_DB = 3.0
WEAKER_COST = 0.02  # seconds of airtime for each dB weaker than that
WEAKEST_COST = 0.5
UNSURE_COST = 10.0
HOPELESS_COST = 100.0
LOAD_FACTOR = 2.0
SCARCE_FACTOR = 4.0
LATER_FACTOR = 1.05  # RX2, for the node listens longer and there is no other window behind it


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


@dataclass(slots=True, eq=False)
class Way:
    """One way to send: gateway, window, channel. `starts_at` is on the server's clock, `tmst` on the gateway's.

    `margin_db`: how far above its floor the node will probably hear it; None where no SNR was told. `weaker_db`: how
    much weaker than the strongest this gateway heard the node.
    """

    gateway: str
    window: int
    tmst: int
    starts_at: float
    delay_s: int
    freq_hz: int
    dr: int
    band: int
    eirp_dbm: float
    margin_db: float | None
    weaker_db: float
    context: object

    @property
    def max_phy(self) -> int:
        """The longest PHYPayload in bytes at this data rate."""
        return eu868.MAX_MAC_PAYLOAD[self.dr] + PHY_OVERHEAD

    @property
    def bw_hz(self) -> int:
        return eu868.DATA_RATES[self.dr][1]

    def airtime_us(self, size: int) -> int:
        """Of a PHYPayload of `size` bytes."""
        return airtime_us(*eu868.DATA_RATES[self.dr], size, crc=False)

    def quieten(self, loudest_dbm: float) -> None:
        """Its gateway cannot send louder than this."""
        if self.eirp_dbm > loudest_dbm:
            if self.margin_db is not None:
                self.margin_db -= self.eirp_dbm - loudest_dbm
            self.eirp_dbm = loudest_dbm

    def refusal(self, size: int, schedule: Schedule, now: float) -> str | None:
        """Why the gateway cannot send this now; None: it can."""
        return schedule.refusal(self.gateway, self.starts_at, self.airtime_us(size), self.freq_hz, self.bw_hz, now)

    def cost(self, size: int, schedule: Schedule, now: float) -> float:
        """What it costs to send so many bytes this way; the least is best. In seconds of airtime."""
        load = schedule.load(self.gateway, now)
        airtime_s = self.airtime_us(size) / 1e6
        used = schedule.used(self.gateway, self.band, now) + airtime_s / 3600 / eu868.SUB_BANDS[self.band].duty
        cost = airtime_s * (1 + LOAD_FACTOR * load) * (1 + SCARCE_FACTOR * used * used)
        if self.window == 2:
            cost *= LATER_FACTOR
        cost += min(max(self.weaker_db - AS_STRONG_DB, 0.0) * WEAKER_COST, WEAKEST_COST)
        if self.margin_db is not None and self.margin_db < SURE_DB:
            cost += UNSURE_COST if self.margin_db >= 0 else HOPELESS_COST - self.margin_db
        return cost

    def downlink(self, phy: bytes, dev_eui: bytes, number: int, fallback: Way | None) -> Downlink:
        """What the gateway is asked for."""
        sf, bw_hz = eu868.DATA_RATES[self.dr]
        other = None
        if fallback is not None:
            other = (fallback.freq_hz, *eu868.DATA_RATES[fallback.dr], fallback.eirp_dbm)
        return Downlink(
            self.gateway,
            self.tmst,
            self.freq_hz,
            sf,
            bw_hz,
            self.eirp_dbm,
            phy,
            dev_eui,
            self.window,
            number,
            self.delay_s,
            self.context,
            other,
        )


def plan(
    copies: Sequence[Copy],
    windows: Windows,
    heard_at: Callable[[str, int, float], float],
    *,
    eirp_dbm: float,
    node_eirp_dbm: float = NODE_EIRP_DBM,
) -> list[Way]:
    """All ways to answer an uplink with these copies (strongest first), RX1 before RX2 for each gateway.

    A gateway that gave no `tmst` cannot answer, nor can a copy that it held back. `heard_at(gateway, tmst, arrival)`:
    see Schedule. `eirp_dbm`: what gateways send with; 13 dB more in the sub-band of RX2, never more than is allowed.
    """
    ways: list[Way] = []
    for copy in copies:
        frame = copy.frame
        if frame.tmst is None or frame.buffered:
            continue
        at = heard_at(frame.gateway, frame.tmst, copy.at)
        strongest = copies[0].frame.snr
        weaker_db = 0.0 if strongest is None or frame.snr is None else strongest - frame.snr
        uplink_dr = eu868.DR_OF.get((frame.sf, frame.bw_hz))
        channels = [(2, windows.rx2_freq_hz, windows.rx2_dr)]
        if uplink_dr is not None:
            channels.insert(0, (1, frame.freq_hz, eu868.RX1_DR[uplink_dr][windows.rx1_dr_offset]))
        for window, freq_hz, dr in channels:
            sf, bw_hz = eu868.DATA_RATES[dr]
            band = eu868.band_of(freq_hz, bw_hz)
            if band is None:
                continue
            allowed_dbm = eu868.SUB_BANDS[band].max_eirp_dbm
            louder = LOUD_BAND_DB if allowed_dbm >= eu868.SUB_BANDS[1].max_eirp_dbm + LOUD_BAND_DB else 0.0
            power_dbm = min(eirp_dbm + louder, allowed_dbm)
            margin_db = None
            if frame.snr is not None:
                # In twice the bandwidth there is twice the noise.
                wider_db = 3.0 * (bw_hz // 125_000 - frame.bw_hz // 125_000)
                margin_db = frame.snr + power_dbm - node_eirp_dbm - wider_db - eu868.SNR_FLOOR_DB[sf]
            delay_s = windows.rx1_delay_s + window - 1
            tmst = (frame.tmst + delay_s * 1_000_000) & 0xFFFFFFFF  # the counter wraps every 71.6 minutes
            ways.append(
                Way(
                    frame.gateway,
                    window,
                    tmst,
                    at + delay_s,
                    delay_s,
                    freq_hz,
                    dr,
                    band,
                    power_dbm,
                    margin_db,
                    weaker_db,
                    frame.context,
                )
            )
    return ways
