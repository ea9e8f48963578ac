"""What a region's table says, for any region with a dynamic channel plan (RP002-1.0.4 section 2).

A region is a module of constants; eu868 says what each name means. To add one, write its table: neither this file nor
the MAC knows a region by its name. `dwell` is everywhere as in the session: bit 0 holds uplinks to 400 ms, bit 1
downlinks.
"""

_ONES = b"\0\1\1\2\1\2\2\3\1\2\2\3\2\3\3\4"  # bits in a number below 16


def sub_band(region, freq_hz, bw_hz=125000):
    """Index in SUB_BANDS of the band that a channel around `freq_hz` lies in as a whole, or -1 for none.

    The limits of EN 300 220 hold for the whole occupied bandwidth, so a channel across a band's edge is in neither.
    """
    half = bw_hz // 2
    for index, band in enumerate(region.SUB_BANDS):
        if band[0] <= freq_hz - half and freq_hz + half <= band[1]:
            return index
    return -1


def can_transmit(region, freq_hz):
    """Whether an uplink channel of 125 kHz may be at `freq_hz`."""
    return sub_band(region, freq_hz) >= 0


def can_listen(region, freq_hz):
    """Whether a downlink may come at `freq_hz`."""
    return region.LISTEN_HZ[0] <= freq_hz <= region.LISTEN_HZ[1]


def can_send(region, dr):
    """Whether `dr`, 0..15 as on air, is a data rate that these radios have."""
    return dr < len(region.DATA_RATES) and region.DATA_RATES[dr] is not None


can_receive = can_send  # both directions have the same data rates in every dynamic channel plan


def max_payload(region, dr, dwell):
    """M, the longest MACPayload (FHDR, FPort and FRMPayload) of an uplink at `dr`; 0 where none may be sent."""
    return (dwell & 1 and region.MAX_MAC_PAYLOAD_DWELL or region.MAX_MAC_PAYLOAD)[dr]


def rx1_dr(region, dr, offset, dwell):
    """The data rate of RX1 after an uplink at `dr`."""
    return (dwell & 2 and region.RX1_DR_DWELL or region.RX1_DR)[dr][offset]


def dr_range_ok(region, dr_range):
    """Whether a channel may have `dr_range`, highest DR << 4 | lowest DR: in order, and both exist."""
    low = dr_range & 0x0F
    high = dr_range >> 4
    return low <= high and can_send(region, low) and can_send(region, high)


def choose(candidates, used, rng):
    """Choose one of `candidates` at random, none twice before all had their turn (RP002-1.0.4 2.4.1).

    candidates, used: bit masks, candidates not 0. Returns (index, the new `used`).
    """
    fresh = candidates & ~used
    if not fresh:
        used &= ~candidates
        fresh = candidates
    count = 0
    left = fresh
    while left:
        count += _ONES[left & 15]
        left >>= 4
    nth = rng(count)
    index = 0
    while True:
        if fresh >> index & 1:
            if not nth:
                return index, used | 1 << index
            nth -= 1
        index += 1
