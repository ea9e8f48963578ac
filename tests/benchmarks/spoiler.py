"""Spoils messages as a hostile or broken sender would: bits, ends, JSON types, depths, sizes. Seeded, so it can be
repeated."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 255, 256, 2**31, -(2**31), 2**32, 2**53, 2**63, 2**64, 10**30, -(10**30),
    0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), -float("inf"), 868.1, 868_100_000,
    "", " ", "0", "-1", "null", "A", "A===", "AAAA", "-_-_", "\0", "\ud800", "\udfff\ud800", "ß", "\u0665", "\x1b[2J",
    "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00-23:59", "2025-10-09 08:53:20 GMT", "24:00",
    "SF7BW125", "SF12BW500", "SF99BW125", "FSK", "LORA", "NONE", "TOO_LATE", "::1", "FFFFFFFFFFFFFFFF", "updf", "jreq",
    "x" * 300, "A" * 344, "é" * 5000,
    [], {}, [[]], [None], {"": None}, [[[[[[]]]]]], {"rxpk": []}, {"ant": 0, "rssic": -90, "lsnr": 5},
    [{"ant": 0, "rssic": None, "lsnr": 1e999}], [0] * 100,
)  # fmt: skip

HOSTILE_TEXTS: tuple[bytes, ...] = (
    b"[" * 40_000,
    b'{"a":' * 10_000,
    b'{"rxpk":' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"tmst":' + b"9" * 4000 + b"}",
    b'{"tmst":' + b"9" * 5000 + b"}",
    b'{"freq":1e' + b"9" * 400 + b"}",
    b'{"rxpk":[' + b"{}," * 20_000 + b"{}]}",
    b'{"rxpk":[' + b"null," * 12_000 + b"null]}",
    b'{"stat":{"time":"' + b"A" * 60_000 + b'"}}',
    b"\xff\xfe{\0}\0",
    b"\xef\xbb\xbf{}",
    b'{"rxpk":{},"rxpk":[],"rxpk":null,"rxpk":7}',
    b'"\\ud800"',
    b"\0" * 60_000,
    b" " * 60_000 + b"{}",
    b"{" + b'"a":1,' * 8000 + b'"a":1}',
    b"NaN",
    b"-Infinity",
    b"\x00",
    b"",
)


class Spoiler:
    """`text(json)` and `raw(data)` give a spoilt version; `chance` is the generator to draw from."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311

    def text(self, text: bytes) -> bytes:
        """A spoilt version of a JSON text, now and then the text itself."""
        kind = self.chance.random()
        if kind < 0.55:
            return self._values(text)
        if kind < 0.80:
            return self.raw(text)
        if kind < 0.90:
            return self._doubled(text)
        if kind < 0.92:
            return self.chance.choice(HOSTILE_TEXTS)
        if kind < 0.97:
            return self.chance.randbytes(self.chance.randrange(200))
        return text

    def raw(self, data: bytes) -> bytes:
        """Bits turned, the end cut off, a piece left out, or one repeated."""
        chance, spoilt = self.chance, bytearray(data)
        kind = chance.randrange(4)
        at = chance.randrange(len(spoilt) + 1)
        if kind == 0 and spoilt:
            for _ in range(chance.randrange(1, 9)):
                spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del spoilt[at:]
        elif kind == 2:
            del spoilt[at : at + chance.randrange(1, 20)]
        else:
            spoilt[at:at] = spoilt[at : at + chance.randrange(1, 50)]
        return bytes(spoilt)

    def _values(self, text: bytes) -> bytes:
        """One to three values are of another kind, gone, or there twice."""
        try:
            tree = json.loads(text)
        except ValueError:
            return self.raw(text)
        for _ in range(self.chance.randrange(1, 4)):
            tree = self._changed(tree)
        return json.dumps(tree, ensure_ascii=self.chance.random() < 0.9).encode("utf-8", "surrogatepass")

    def _changed(self, tree: Any) -> Any:
        """The tree with one value spoilt, somewhere."""
        chance = self.chance
        if not isinstance(tree, dict | list) or not tree or chance.random() < 0.03:
            return copy.deepcopy(chance.choice(HOSTILE_VALUES))
        key = chance.choice(list(tree)) if isinstance(tree, dict) else chance.randrange(len(tree))
        kind = chance.random()
        if kind < 0.08:
            del tree[key]
        elif kind < 0.12 and isinstance(tree, list):
            tree.extend([tree[key]] * chance.randrange(1, 30))
        elif kind < 0.18 and isinstance(tree, dict):
            tree[chance.choice(("rxpk", "stat", "rsig", "upinfo", "xtime", "JoinEUI", "\ud800", ""))] = copy.deepcopy(
                tree[key]
            )
        else:
            tree[key] = self._changed(tree[key])
        return tree

    def _doubled(self, text: bytes) -> bytes:
        """A key that is there twice: the first of it with another value."""
        at = text.find(b"{", self.chance.randrange(len(text) + 1))
        end = text.find(b":", at)
        if at < 0 or end < 0:
            return self.raw(text)
        value = json.dumps(self.chance.choice(HOSTILE_VALUES)).encode()
        return text[: at + 1] + text[at + 1 : end + 1] + value + b"," + text[at + 1 :]
