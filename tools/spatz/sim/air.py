"""The physics of the air between nodes and gateways: who hears what, and how well. No sockets, no clock.

Rules, in the order in which a reception is decided:

1. A station hears nothing while it transmits itself (half duplex).
2. Power at the receiver = EIRP - path loss + antenna gain. The path loss is log-distance with one shadowing value per
   pair of stations, fixed by the seed: a house between two stations stays where it is.
3. A frame weaker than the receiver's sensitivity for its spreading factor and bandwidth is not heard.
4. Frames overlapping in time on the same channel with the same spreading factor and the same IQ polarity collide. The
   strongest is heard when it is 6 dB above the sum of the others (capture), otherwise none is. Different spreading
   factors and polarities are taken as orthogonal.
5. A fraction of the frames is lost for no reason (`loss`), as in life, and more around a station that stands badly
   (`losses`). The draws are counted per pair of stations, so the n-th frame between two stations has the same fate in
   every run with the same seed.

Times are microseconds on whatever clock the caller uses, as long as it is one clock.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

PUBLIC_SYNC_WORD = 0x3444
"""Sync word of public LoRaWAN networks, as an SX126x is told it (0x34 on an SX127x)."""

JOINS = (0b000, 0b001)
"""Message types of JoinRequest and JoinAccept: the three highest bits of a frame. [TS001-1.0.4, 4.2.1]"""

CAPTURE_DB = 6.0
"""What a frame must be above all that overlaps it. [Goursaud and Gorce 2015, section 5; Bor et al., MSWiM 2016]"""

NOISE_FIGURE_DB = 6.0
"""Of a LoRa receiver. [Semtech AN1200.22, section 4]"""

SENSITIVITY_DBM: Mapping[int, float] = MappingProxyType(
    {5: -118.0, 6: -121.0, 7: -124.0, 8: -127.0, 9: -130.0, 10: -133.0, 11: -135.0, 12: -137.0}
)
"""At 125 kHz, per spreading factor. [SX1272/73 data sheet rev. 2, 2.5.5, RFS_L125; the SX1261/2 data sheet, table 3-8,
gives the same for SF7 and SF12. SF5, which it lacks, goes on with its steps of 3 dB]"""


@dataclass(frozen=True, slots=True)
class Position:
    """A place on the map, in degrees (WGS 84)."""

    latitude: float
    longitude: float

    def distance_m(self, other: Position) -> float:
        """Metres on a sphere, flat approximation: better than 0.1 % within a town."""
        metres_per_degree = 111_195.0
        north = (other.latitude - self.latitude) * metres_per_degree
        middle = math.radians((self.latitude + other.latitude) / 2)
        return math.hypot(north, (other.longitude - self.longitude) * metres_per_degree * math.cos(middle))


@dataclass(frozen=True, slots=True)
class Station:
    """Somebody with an antenna. The gain is in dBi and counts for receiving; transmissions carry their EIRP."""

    name: str
    position: Position
    gain_dbi: float = 0.0


@dataclass(frozen=True, slots=True)
class Transmission:
    """One frame on the air. `sync` as the SX126x is told it; `cr` 5..8 means 4/5..4/8."""

    sender: str
    start_us: int
    airtime_us: int
    freq_hz: int
    sf: int
    bw_hz: int
    eirp_dbm: float
    data: bytes
    iq_inverted: bool = False
    crc_on: bool = True
    cr: int = 5
    sync: int = PUBLIC_SYNC_WORD

    @property
    def end_us(self) -> int:
        """When the last symbol has left."""
        return self.start_us + self.airtime_us

    def overlaps(self, other: Transmission) -> bool:
        """True when both are on the air at the same moment."""
        return self.start_us < other.end_us and other.start_us < self.end_us

    def collides_with(self, other: Transmission) -> bool:
        """True when the two disturb each other: same time, channel, spreading factor and polarity."""
        return (
            self.overlaps(other)
            and self.sf == other.sf
            and self.iq_inverted == other.iq_inverted
            and 2 * abs(self.freq_hz - other.freq_hz) < max(self.bw_hz, other.bw_hz)
        )


@dataclass(frozen=True, slots=True)
class Reception:
    """A frame heard: power in dBm and signal-to-noise ratio in dB."""

    rssi: int
    snr: float


@dataclass(frozen=True, slots=True)
class Missed:
    """A frame not heard, and why: "transmitting", "weak", "collision" or "lost"."""

    why: str


def airtime_us(sf: int, bw_hz: int, size: int, *, crc: bool = True, preamble: int = 8, cr: int = 5) -> int:
    """Time on air of `size` bytes with explicit header, rounded to the nearest microsecond.

    [SX1261/2 data sheet 6.1.4; the low data rate optimisation is on from 16 ms per symbol]
    """
    if sf not in SENSITIVITY_DBM:
        raise ValueError(f"no such spreading factor: {sf}")
    optimised = (1 << sf) * 1000 >= 16 * bw_hz
    short = sf < 7
    bits = 8 * size - 4 * sf + 16 * crc + 20 + (0 if short else 8)
    per_block = 4 * (sf - 2 * optimised)
    quarters = 4 * preamble + (25 if short else 17) + 4 * (8 + max(-(-bits // per_block), 0) * cr)
    return ((quarters << sf) * 1_000_000 // bw_hz + 2) // 4


def noise_floor_dbm(bw_hz: int, noise_figure_db: float = NOISE_FIGURE_DB) -> float:
    """Thermal noise in the bandwidth plus the receiver's own."""
    return -174.0 + 10 * math.log10(bw_hz) + noise_figure_db


def sensitivity_dbm(sf: int, bw_hz: int) -> float:
    """The weakest frame that is understood: the table at 125 kHz, 3 dB more for twice the bandwidth."""
    return SENSITIVITY_DBM[sf] + 10 * math.log10(bw_hz / 125_000)


@dataclass(frozen=True, slots=True)
class Propagation:
    """Log-distance path loss with log-normal shadowing.

    The defaults are the measurement in a Finnish town of 200 000. [Petäjäjärvi et al., "On the Coverage of LPWANs",
    ITST 2015: 128.95 dB at 1 km, exponent 2.32, standard deviation 7.8 dB]
    """

    seed: int = 0
    loss_at_1_km_db: float = 128.95
    exponent: float = 2.32
    shadowing_db: float = 7.8

    def path_loss_db(self, a: Station, b: Station) -> float:
        """The same in both directions; stations nearer than 10 m count as 10 m apart."""
        distance_km = max(a.position.distance_m(b.position), 10.0) / 1000
        mean = self.loss_at_1_km_db + 10 * self.exponent * math.log10(distance_km)
        first, second = sorted((a.name, b.name))
        # A text seeds the generator by its SHA-512: the same value in every Python, whatever PYTHONHASHSEED says.
        return mean + random.Random(f"{self.seed}/shadow/{first}/{second}").gauss(0.0, self.shadowing_db)  # noqa: S311


class Air:
    """All transmissions of the last moments and who hears them.

    `loss` is the fraction of frames lost for no reason, 0..1; `losses` that of the data frames from and to a station,
    by its name, where that is more. Joins are spared by the latter: a node that stands badly is there all the same.
    Stations are added with `add`; names are unique.
    """

    def __init__(
        self, propagation: Propagation, *, loss: float = 0.0, losses: Mapping[str, float] | None = None
    ) -> None:
        for fraction in (loss, *(losses or {}).values()):
            if not 0.0 <= fraction <= 1.0:
                raise ValueError(f"loss is a fraction between 0 and 1, not {fraction}")
        self.propagation = propagation
        self.loss = loss
        self.losses = dict(losses or {})
        self.stations: dict[str, Station] = {}
        self._on_air: list[Transmission] = []
        self._path_loss: dict[tuple[str, str], float] = {}
        self._draws: dict[tuple[str, str], random.Random] = {}

    def add(self, station: Station) -> None:
        """Put a station on the map, or move the one of that name."""
        self.stations[station.name] = station
        self._path_loss = {pair: loss for pair, loss in self._path_loss.items() if station.name not in pair}

    def begin(self, transmission: Transmission) -> None:
        """A frame goes on the air. What ended more than ten seconds before it is forgotten: nothing can overlap it."""
        horizon = transmission.start_us - 10_000_000
        self._on_air = [other for other in self._on_air if other.end_us > horizon]
        self._on_air.append(transmission)

    def rssi_dbm(self, transmission: Transmission, receiver: str) -> float:
        """Power of the frame at the receiver's radio."""
        pair = (transmission.sender, receiver)
        if pair not in self._path_loss:
            a, b = (self.stations[name] for name in pair)
            self._path_loss[pair] = self.propagation.path_loss_db(a, b)
        return transmission.eirp_dbm - self._path_loss[pair] + self.stations[receiver].gain_dbi

    def hear(self, transmission: Transmission, receiver: str) -> Reception | Missed:
        """What becomes of a frame at one receiver; to be asked once per frame and receiver, at its end."""
        overlapping = [other for other in self._on_air if other is not transmission and other.overlaps(transmission)]
        if any(other.sender == receiver for other in overlapping):
            return Missed("transmitting")
        rssi = self.rssi_dbm(transmission, receiver)
        if rssi < sensitivity_dbm(transmission.sf, transmission.bw_hz):
            return Missed("weak")
        others = [other for other in overlapping if other.collides_with(transmission) and other.sender in self.stations]
        if others and rssi < power_sum_dbm(self.rssi_dbm(other, receiver) for other in others) + CAPTURE_DB:
            return Missed("collision")
        loss = self._loss(transmission, receiver)
        if loss and self._draw(transmission.sender, receiver) < loss:
            return Missed("lost")
        return Reception(round(rssi), round(4 * (rssi - noise_floor_dbm(transmission.bw_hz))) / 4)

    def _loss(self, transmission: Transmission, receiver: str) -> float:
        if not self.losses or transmission.data[0] >> 5 in JOINS:
            return self.loss
        return max(self.loss, *(self.losses.get(name, 0.0) for name in (transmission.sender, receiver)))

    def _draw(self, sender: str, receiver: str) -> float:
        pair = (sender, receiver)
        if pair not in self._draws:
            self._draws[pair] = random.Random(f"{self.propagation.seed}/loss/{sender}/{receiver}")  # noqa: S311
        return self._draws[pair].random()


def power_sum_dbm(powers: Iterable[float]) -> float:
    """The power of several signals together, in dBm."""
    return 10 * math.log10(sum(10 ** (power / 10) for power in powers))
