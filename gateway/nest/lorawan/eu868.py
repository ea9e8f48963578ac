"""The region EU863-870 as the network sees it, as tables (RP002-1.0.4 section 2.4; sub-bands: ERC/REC 70-03)."""

from __future__ import annotations

from typing import NamedTuple

JOIN_ACCEPT_DELAY_S = (5, 6)  # RX1, RX2 after a JoinRequest (RP002-1.0.4 section 2.3)
RX2_FREQ_HZ = 869_525_000
RX2_DR = 0

# Data rates as (spreading factor, bandwidth in Hz). DR7 (FSK) and DR8..11 (LR-FHSS) are not ours.
DATA_RATES: dict[int, tuple[int, int]] = {
    0: (12, 125_000),
    1: (11, 125_000),
    2: (10, 125_000),
    3: (9, 125_000),
    4: (8, 125_000),
    5: (7, 125_000),
    6: (7, 250_000),
}
DR_OF: dict[tuple[int, int], int] = {modulation: dr for dr, modulation in DATA_RATES.items()}

# Largest MACPayload (M) in bytes: FHDR, FPort and FRMPayload; the PHYPayload has 5 more.
MAX_MAC_PAYLOAD: dict[int, int] = {0: 59, 1: 59, 2: 59, 3: 123, 4: 250, 5: 250, 6: 250}

# The downlink's data rate in RX1: row = uplink DR, column = RX1DROffset.
RX1_DR: dict[int, tuple[int, ...]] = {
    0: (0, 0, 0, 0, 0, 0),
    1: (1, 0, 0, 0, 0, 0),
    2: (2, 1, 0, 0, 0, 0),
    3: (3, 2, 1, 0, 0, 0),
    4: (4, 3, 2, 1, 0, 0),
    5: (5, 4, 3, 2, 1, 0),
    6: (6, 5, 4, 3, 2, 1),
}

# Frequencies of channels 3..7, given to every node in the JoinAccept.
CF_LIST_HZ = (867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000)

# The weakest SNR in dB that a frame of each spreading factor is understood at (SX1272/73 data sheet, table 13).
SNR_FLOOR_DB: dict[int, float] = {5: -2.5, 6: -5.0, 7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}


class SubBand(NamedTuple):
    """Where one may send, how loud (EIRP in dBm) and what share of any hour one transmitter may be on air."""

    low_hz: int
    high_hz: int
    max_eirp_dbm: float
    duty: float
    name: str  # in MHz, as people are told it


# The law limits ERP, power over a dipole: 14 dBm ERP = 16.15 dBm EIRP, 27 dBm ERP = 29.15 dBm EIRP.
SUB_BANDS: tuple[SubBand, ...] = (
    SubBand(863_000_000, 865_000_000, 16.15, 0.001, "863.0-865.0"),
    SubBand(865_000_000, 868_000_000, 16.15, 0.01, "865.0-868.0"),
    SubBand(868_000_000, 868_600_000, 16.15, 0.01, "868.0-868.6"),
    SubBand(868_700_000, 869_200_000, 16.15, 0.001, "868.7-869.2"),
    SubBand(869_400_000, 869_650_000, 29.15, 0.1, "869.4-869.65"),
    SubBand(869_700_000, 870_000_000, 16.15, 0.01, "869.7-870.0"),
)


def band_of(freq_hz: int, bw_hz: int = 125_000) -> int | None:
    """The sub-band (index in SUB_BANDS) that the whole channel lies in; None: no sending there at all."""
    half = bw_hz // 2
    for index, band in enumerate(SUB_BANDS):
        if band.low_hz <= freq_hz - half and freq_hz + half <= band.high_hz:
            return index
    return None


def max_eirp_dbm(freq_hz: int, bw_hz: int = 125_000) -> float | None:
    """The largest EIRP allowed on this channel in dBm; None: no sending there at all."""
    band = band_of(freq_hz, bw_hz)
    return None if band is None else SUB_BANDS[band].max_eirp_dbm


def cf_list(frequencies_hz: tuple[int, ...] = CF_LIST_HZ) -> bytes:
    """A CFList of type 0: five frequencies in steps of 100 Hz, three bytes each, little-endian; 16 bytes."""
    return b"".join((freq // 100).to_bytes(3, "little") for freq in frequencies_hz) + b"\x00"
