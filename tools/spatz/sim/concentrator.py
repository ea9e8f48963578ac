"""What every virtual gateway is, whatever it speaks: eight channels, one antenna, and an air to send into."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from spatz.sim.air import PUBLIC_SYNC_WORD, Station, Transmission

ANNOUNCE_US = 250_000
"""How long before its start a queued downlink is announced to the air; at least 40 ms remain by the queue's rules."""

CHANNELS_EU868 = (
    *((freq_hz, 125_000, range(7, 13)) for freq_hz in range(867_100_000, 868_600_000, 200_000)),
    (868_300_000, 250_000, range(7, 8)),
)
"""Eight channels of 125 kHz and one of 250 kHz, as the usual EU868 configuration of a concentrator has them."""

TOLERANCE_HZ = 25_000
"""How far off a node's frequency may be: a fifth of the bandwidth; radios reach a channel in steps of up to 61 Hz."""


class Concentrator:
    """The radio. `transmit` puts a frame on the air; `now_us` is the gateway's clock."""

    def __init__(self, station: Station, transmit: Callable[[Transmission], None], now_us: Callable[[], int]) -> None:
        self.station = station
        self._transmit = transmit
        self._now_us = now_us

    def listens_to(self, transmission: Transmission) -> bool:
        """True for an uplink (polarity not inverted, public sync word) on one of the channels."""
        return (
            not transmission.iq_inverted
            and transmission.sync == PUBLIC_SYNC_WORD
            and channel_of(transmission) is not None
        )

    def _announce_in_time(self, transmission: Transmission, announce: Callable[[Transmission], None]) -> None:
        """Call `announce` so long before the start that everybody hears of it, or at once."""
        delay_us = max(transmission.start_us - ANNOUNCE_US - self._now_us(), 0)
        asyncio.get_running_loop().call_later(delay_us / 1e6, announce, transmission)


def channel_of(transmission: Transmission) -> int | None:
    """The number of the channel that a transmission is on."""
    for number, (freq_hz, bw_hz, factors) in enumerate(CHANNELS_EU868):
        near = abs(transmission.freq_hz - freq_hz) <= TOLERANCE_HZ
        if near and transmission.bw_hz == bw_hz and transmission.sf in factors:
            return number
    return None
