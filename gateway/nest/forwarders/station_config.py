"""How a Basics Station is to set its radios in EU863-870: the router_config of the LNS protocol. Pure."""

from __future__ import annotations

import json
from typing import Any, Protocol

from nest.lorawan.dev_addr import LAYOUT
from nest.lorawan.eu868 import DATA_RATES

FSK_DR = 7
CHANNELS_HZ = (
    867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000, 868_100_000, 868_300_000, 868_500_000,
)  # fmt: skip
RADIOS_HZ = (867_500_000, 868_500_000)  # the two receivers; a channel lies at most 400 kHz from one of them
FAST_CHANNEL_HZ = 868_300_000  # SF7 at 250 kHz
FREQ_RANGE_HZ = (863_000_000, 870_000_000)


class HasNetId(Protocol):
    """The part of the settings that stations are told."""

    @property
    def net_id(self) -> int: ...


def router_config(region: str, net_id: int, now: float) -> str:
    """EU863-870 with the usual eight channels and SF7 at 250 kHz. `now` is Unix time.

    A station compares the listed NetIDs with the uppermost seven bits of a DevAddr, so that neighbours' frames stay off
    the backhaul; where those seven bits are no whole NetID it is told not to filter (null).
    """
    rates = [[*_rate(dr), 0] for dr in range(16)]
    config: dict[str, Any] = {
        "msgtype": "router_config",
        "NetID": [net_id] if net_id < 1 << LAYOUT[0][1] else None,
        "JoinEui": None,
        "region": region,
        "hwspec": "sx1301/1",
        "freq_range": list(FREQ_RANGE_HZ),
        "DRs": rates,
        "sx1301_conf": [_concentrator()],
        "bcning": None,
        "MuxTime": round(now, 6),
    }
    return json.dumps(config, separators=(",", ":"))


def _rate(dr: int) -> tuple[int, int]:
    """(SF, bandwidth in kHz) of a data rate; SF 0: FSK, -1: not used."""
    if dr in DATA_RATES:
        sf, bw_hz = DATA_RATES[dr]
        return sf, bw_hz // 1000
    return (0, 0) if dr == FSK_DR else (-1, 0)


def _concentrator() -> dict[str, Any]:
    """Receivers and channels; what belongs to the board (chip, RSSI offset, gains) stands in its station.conf."""

    def tuned(freq_hz: int) -> dict[str, Any]:
        radio = min((0, 1), key=lambda number: abs(freq_hz - RADIOS_HZ[number]))
        return {"enable": True, "radio": radio, "if": freq_hz - RADIOS_HZ[radio]}

    return {
        **{f"radio_{number}": {"enable": True, "freq": freq_hz} for number, freq_hz in enumerate(RADIOS_HZ)},
        "chan_FSK": {"enable": False},
        "chan_Lora_std": tuned(FAST_CHANNEL_HZ) | {"bandwidth": 250_000, "spread_factor": 7},
        **{f"chan_multiSF_{number}": tuned(freq_hz) for number, freq_hz in enumerate(CHANNELS_HZ)},
    }
