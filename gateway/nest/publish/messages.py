"""The JSON of what is published, written straight as text: ten thousand readings a second leave no time for dicts.

| topic | payload |
| --- | --- |
| `…/<node>/reading` | {"time": ISO 8601 UTC, "node": slug, "values": {quantity: {"value", "unit"}}} |
| `…/<node>/earlier` | the same, and "origin": "recovered" from parity or "backfilled" from the node's log |
| `…/<node>/status` | {"time", "node", "fcnt", "heard": [{"gateway", "rssi", "snr"}]} |

A quantity whose sensor failed or was out of range has the value null and says which in "quality". What is written here
is byte for byte what `json.dumps(…, ensure_ascii=False)` makes of these shapes.
"""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime

from nest.live import ReadingEvent
from nest.model import Heard, Uplink
from nest.moments import iso
from nest.quantities import by_name

_DAY_MS = 86_400_000
_GOOD = frozenset(("good",))
_EARLIER = frozenset(("recovered", "backfilled"))


def is_earlier(event: ReadingEvent) -> bool:
    """Whether the node has told something newer since: it goes to `…/earlier`."""
    return event.origin in _EARLIER


def reading_json(event: ReadingEvent) -> bytes:
    """The payload of `…/reading` or `…/earlier`. Raises KeyError: a quantity that is not in the table of quantities."""
    if event.origin in _EARLIER:
        return b'%s, "origin": %s}' % (_reading(event)[:-1], _quoted(event.origin).encode())
    return _reading(event)


def _reading(event: ReadingEvent) -> bytes:
    values = event.values
    if _GOOD.issuperset(event.qualities.values()) and None not in values.values():
        return (
            _all_good(tuple(values)) % (moment_text(event.time), _quoted(event.node_slug), *values.values())
        ).encode()
    heads, tails = _fragments()
    parts: list[str] = []
    for name, value in values.items():
        quality = event.qualities.get(name, "good")
        tail = tails[name]
        if quality != "good":
            tail = f'{tail[:-1]}, "quality": {_quoted(quality)}}}'
        parts.append(f"{heads[name]}{'null' if value is None else repr(value)}{tail}")
    moment, node = moment_text(event.time), _quoted(event.node_slug)
    return f'{{"time": "{moment}", "node": {node}, "values": {{{", ".join(parts)}}}}}'.encode()


def status_json(uplink: Uplink) -> bytes:
    """The payload of `…/status`: who heard the node's latest frame."""
    heard = ", ".join([_heard(one) for one in uplink.heard])
    moment, node = moment_text(uplink.received_at), _quoted(uplink.node)
    return f'{{"time": "{moment}", "node": {node}, "fcnt": {uplink.fcnt}, "heard": [{heard}]}}'.encode()


def moment_text(unix_s: float) -> str:
    """`nest.moments.iso`, in a quarter of its time."""
    milliseconds = int(unix_s * 1000 + 1e-4)  # as there
    if milliseconds < 0:
        return iso(unix_s)
    day, rest = divmod(milliseconds, _DAY_MS)
    second, millisecond = divmod(rest, 1000)
    return "%sT%02d:%02d:%02d.%03dZ" % (_date(day), second // 3600, second // 60 % 60, second % 60, millisecond)  # noqa: UP031  the fastest


@functools.lru_cache(maxsize=64)
def _date(day: int) -> str:
    return f"{datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}"


@functools.lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@functools.cache
def _fragments() -> tuple[dict[str, str], dict[str, str]]:
    """What stands before and behind the value of each quantity."""
    heads = {name: f'{_quoted(name)}: {{"value": ' for name in by_name()}
    tails = {name: f', "unit": {_quoted(quantity.unit)}}}' for name, quantity in by_name().items()}
    return heads, tails


@functools.lru_cache(maxsize=256)
def _all_good(names: tuple[str, ...]) -> str:
    """A reading of these quantities, each a good number: a template for moment, node and the numbers."""
    heads, tails = _fragments()
    parts = [f"{heads[name].replace('%', '%%')}%r{tails[name].replace('%', '%%')}" for name in names]
    return f'{{"time": "%s", "node": %s, "values": {{{", ".join(parts)}}}}}'


def _heard(one: Heard) -> str:
    snr = "null" if one.snr is None else repr(one.snr)
    return f'{{"gateway": {_quoted(one.gateway)}, "rssi": {one.rssi!r}, "snr": {snr}}}'
