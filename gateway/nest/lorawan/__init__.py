"""The LoRaWAN network server, without I/O and without a clock (TS001-1.0.4, class A, EU868).

`NetworkServer` takes received frames and the time and returns effects: what to store, publish and transmit, in the
order in which it must be done.
"""

from nest.lorawan.effects import (
    Count,
    DownlinkOutcome,
    Effect,
    MergeCopy,
    Publish,
    SendDownlink,
    Stored,
    StoreJoin,
    StoreLate,
    StoreSession,
    StoreStatus,
    StoreUplink,
)
from nest.lorawan.server import NetworkServer, UnknownDeviceError
from nest.lorawan.settings import Settings

__all__ = [
    "Count",
    "DownlinkOutcome",
    "Effect",
    "MergeCopy",
    "NetworkServer",
    "Publish",
    "SendDownlink",
    "Settings",
    "StoreJoin",
    "StoreLate",
    "StoreSession",
    "StoreStatus",
    "StoreUplink",
    "Stored",
    "UnknownDeviceError",
]
