"""The network server's settings, as `town.toml` gives them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the network server. Raises ValueError for a value outside the range given behind each."""

    net_id: int = 0  # NetID, 24 bits; 0 and 1 are free for private networks (TS002 / Backend Interfaces 15)
    rx1_delay_s: int = 1  # 1..15, told to devices when they join; RX2 is one second later
    rx1_dr_offset: int = 0  # 0..5, RP002 EU868
    rx2_dr: int = 3  # 0..5: SF12..SF7; gateways may send 13 dB louder there than nodes, so SF9 reaches as far back
    downlink_window: int = 1  # 1 or 2: where downlinks go when neither the queue nor an error says otherwise
    downlink_eirp_dbm: float = 16.0  # never more than the sub-band allows
    adr: bool = True  # set data rate, power and repetitions of the nodes that leave it to the network
    adr_margin_db: float = 10.0  # 0..40: how much better than needed a node is to be heard before it may do with less
    status_interval_s: float = 86_400.0  # 0..: how often a node is asked for its battery; 0: never
    dedup_window_s: float = 0.2  # how long to wait for other gateways' copies before answering and publishing

    def __post_init__(self) -> None:
        ranges = (
            ("net_id", 0, 0xFFFFFF),
            ("rx1_delay_s", 1, 15),
            ("rx1_dr_offset", 0, 5),
            ("rx2_dr", 0, 5),
            ("downlink_window", 1, 2),
            ("adr_margin_db", 0, 40),
            ("status_interval_s", 0, 1e9),
            ("dedup_window_s", 0, 0.5),  # the answer must reach the gateway well before RX1 at 1 s
        )
        for name, low, high in ranges:
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be {low}..{high}, not {getattr(self, name)!r}")
