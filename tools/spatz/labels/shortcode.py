"""The short code of a node: four signs that tell two boards on a table apart, printed on its label and by the tools.

It is made from the DevEUI and is not an identity: with 60 nodes two are alike in one of 150 towns, and nothing is
looked up by it.
"""

from __future__ import annotations

ALPHABET = "23456789CDFHJKMNPRTVWXY"
"""No two signs that look alike in a child's handwriting (0 O Q, 1 I L, 2 Z, 5 S, 6 G, 8 B, U V), and no vowels, so that
no code is a word."""

_SIGNS = 4


def short_code(dev_eui: bytes) -> str:
    """dev_eui: 8 bytes, most significant first. Its last three bytes are the chip's own number; boards from one batch,
    whose numbers follow each other, have different codes."""
    number = int.from_bytes(dev_eui[-3:], "big") % len(ALPHABET) ** _SIGNS
    signs = []
    for _ in range(_SIGNS):
        number, place = divmod(number, len(ALPHABET))
        signs.append(ALPHABET[place])
    return "".join(reversed(signs))
