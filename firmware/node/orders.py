"""What the nest orders by downlinks on fPort 2 (boards/payload.md, fPort 2, down).

    ticket u8 | commands: INTERVAL u16 s | PARITY u8 | CONFIRMED u8 | LOG u8 k, k × (session, u16 FCnt, count) | RESTART

Commands are carried out in order; one that is unknown or impossible is refused with all behind it.
"""

import struct

from micropython import const

from node.earlier import RANGE_SIZE
from node.identity import INTERVAL_S, PARITY_MAX

_INTERVAL = const(1)
_PARITY = const(2)
_CONFIRMED = const(3)
_LOG = const(4)
_RESTART = const(5)
_RANGES_MAX = const(10)  # what the shortest frame of a downlink carries beside other commands


def carry_out(payload, memory, identity):
    """Obey a downlink: settings go to the identity, wishes and the answer to memory (node.memory), which is not saved.

    Returns whether there was a ticket, without which nothing is done.
    """
    if not payload or not payload[0]:
        return False
    memory.ticket = payload[0]
    memory.result = 0
    at = 1
    number = 0
    while at < len(payload):
        number += 1
        size = _command(payload, at, memory, identity)
        if not size:
            memory.result = number
            break
        at += size
    return True


def _command(payload, at, memory, identity):
    """Carry out the command at `at`: its size, or 0 when it is refused."""
    kind = payload[at]
    left = len(payload) - at
    if kind == _INTERVAL and left >= 3:
        seconds = struct.unpack_from(">H", payload, at + 1)[0]
        return 3 if seconds >= INTERVAL_S[0] and _set(identity, "interval", seconds) else 0
    if kind in (_PARITY, _CONFIRMED) and left >= 2:
        name, most = ("parity", PARITY_MAX) if kind == _PARITY else ("confirmed", 1)
        return 2 if payload[at + 1] <= most and _set(identity, name, payload[at + 1]) else 0
    if kind == _LOG and left >= 2:
        count = payload[at + 1]
        size = 2 + RANGE_SIZE * count
        if count > _RANGES_MAX or left < size:
            return 0
        if 0 in [payload[at + 5 + RANGE_SIZE * index] for index in range(count)]:
            return 0
        memory.wanted = b"\0" + payload[at + 2 : at + size] if count else b""
        return size
    if kind == _RESTART:
        memory.restart = True
        return 1
    return 0


def _set(identity, name, value):
    try:
        identity.set(name, value)
    except OSError:
        return False  # flash refuses to keep it
    return True
