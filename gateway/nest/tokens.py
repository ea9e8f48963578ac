"""Tokens that open something: the operator's, and those of gateways. Only their fingerprints are kept.

A token has 256 random bits, so a plain SHA-256 is enough to keep it by: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

_BYTES = 32


def new_token() -> str:
    """A token for a person to copy: 43 letters, digits, - and _."""
    return secrets.token_urlsafe(_BYTES)


def fingerprint(token: str) -> str:
    """What is kept of a token: its SHA-256, 64 lower-case hex digits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def matches(token: str, kept: str | None) -> bool:
    """Whether `token` is the one whose fingerprint was kept; None, nothing kept: never. In constant time."""
    return hmac.compare_digest(fingerprint(token), kept or "") and bool(kept)
