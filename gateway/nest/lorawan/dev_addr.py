"""DevAddr: the network's prefix, then the device (TS001-1.0.4 section 6.1.1; NetID types: Backend Interfaces TS002)."""

from __future__ import annotations

# NetID type -> (bits of the prefix, bits of NwkID, bits of NwkAddr). The prefix is `type` ones and a zero.
LAYOUT: dict[int, tuple[int, int, int]] = {
    0: (1, 6, 25),
    1: (2, 6, 24),
    2: (3, 9, 20),
    3: (4, 11, 17),
    4: (5, 12, 15),
    5: (6, 13, 13),
    6: (7, 15, 10),
    7: (8, 17, 7),
}


def address_bits(net_id: int) -> int:
    """How many bits of a DevAddr this network may choose."""
    return LAYOUT[net_id >> 21][2]


def compose(net_id: int, nwk_addr: int) -> int:
    """The DevAddr of device number `nwk_addr` in the network `net_id` (24 bits)."""
    kind = net_id >> 21
    prefix_bits, nwk_id_bits, addr_bits = LAYOUT[kind]
    prefix = (1 << prefix_bits) - 2  # kind ones, then a zero
    nwk_id = net_id & ((1 << nwk_id_bits) - 1)
    return prefix << (32 - prefix_bits) | nwk_id << addr_bits | nwk_addr & ((1 << addr_bits) - 1)
