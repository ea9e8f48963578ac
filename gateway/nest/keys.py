"""What is remembered of an AppKey beside the key itself, and which DevNonces may still be used with it.

LoRaWAN 1.0.4 counts DevNonces up, and a network server never accepts one twice for the same AppKey and JoinEUI
(TS001-1.0.4 section 6.2.2). So they are bound to the key: with the same key they go on, whatever became of the node's
registration meanwhile; with another one they begin anew. `mark` tells the two apart when the key is long forgotten.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

KEY_BYTES = 16
_MARK_BYTES = 16

WRITTEN_AGAIN = 1024
"""So many DevNonces are left out when a key is written to a node whose own count is lost: the nest has not seen the
joins that nobody answered, nor those at another network server. A node joins a few times a year."""

LAST_DEV_NONCE = 0xFFFF


def new_key() -> bytes:
    """An AppKey that nobody had before."""
    return secrets.token_bytes(KEY_BYTES)


def mark(dev_eui: bytes, app_key: bytes) -> bytes:
    """The fingerprint of an AppKey, another one for each node: from it nobody finds a random key."""
    return hmac.digest(dev_eui, app_key, hashlib.sha256)[:_MARK_BYTES]


def is_same_key(dev_eui: bytes, app_key: bytes, kept: bytes | None) -> bool:
    """Whether `kept` is the mark of this key. None, made by a version that kept no marks: it may well be, and a
    DevNonce too many that is refused does no harm to the network."""
    return kept is None or hmac.compare_digest(mark(dev_eui, app_key), kept)
