"""By which gateways a frame was heard: one entry each, strongest first, as JSON in the column `heard`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from nest.model import MOST_HEARD, Heard


def merged(known: tuple[Heard, ...], heard: Heard) -> tuple[Heard, ...] | None:
    """`known` with one more reception, strongest first; None where it adds nothing."""
    rest = known
    for entry in known:
        if entry.gateway == heard.gateway:
            if _strength(heard) <= _strength(entry):
                return None
            rest = tuple(other for other in known if other is not entry)
            break
    else:
        if len(known) >= MOST_HEARD:
            return None
    return tuple(sorted((*rest, heard), key=_strength, reverse=True))


def heard_json(heard: Sequence[Heard]) -> str:
    """What stands in the column `heard`; json.dumps in a third of its time, where the numbers are plain."""
    parts: list[str] = []
    for one in heard:
        gateway, rssi, snr, at = one.gateway, one.rssi, one.snr, one.received_at
        try:
            plain = -1e6 < rssi < 1e6 and -1e15 < at < 1e15 and (snr is None or -1e6 < snr < 1e6)
        except TypeError:
            plain = False
        if not plain or not (gateway.isalnum() and gateway.isascii()):
            return _careful_json(heard)
        parts.append(
            f'{{"gateway": "{gateway}", "rssi": {rssi}, "snr": {"null" if snr is None else snr}, '
            f'"freq_hz": {one.freq_hz}, "received_at": {at}}}'
        )
    return f"[{', '.join(parts)}]"


def _careful_json(heard: Sequence[Heard]) -> str:
    """A number that is none (no forwarder should let it through) becomes null, and the frame is kept."""

    def number(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None

    return json.dumps(
        [
            {
                "gateway": one.gateway,
                "rssi": number(one.rssi),
                "snr": number(one.snr),
                "freq_hz": one.freq_hz,
                "received_at": number(one.received_at),
            }
            for one in heard
        ]
    )


def _strength(heard: Heard) -> float:
    return -math.inf if heard.rssi is None else heard.rssi
