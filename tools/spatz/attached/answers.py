"""What the snippets promise to print, checked: the answer comes from a board, and a board may say anything.

Pure. Scripts that are not in `_CHECKED` are judged by whoever asks: `spatz doctor` has a check for what it cannot read.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

from nest.i18n import tr

from spatz.attached import snippets
from spatz.troubles import Trouble

_DEV_EUI = re.compile(r"[0-9a-f]{16}")
_MOST_SECONDS = 86_400


class _NotOurs(Exception):  # noqa: N818  the word for it
    """No node of ours answers so."""


def checked(script: str, said: Any) -> Any:
    """The JSON that a script printed, if it is what the script promises. Raises Trouble."""
    try:
        return _CHECKED.get(script, _anything)(said)
    except (_NotOurs, ValueError, TypeError, LookupError, AttributeError):
        raise strange() from None


def strange() -> Trouble:
    """The trouble of a board whose answers are whole, and no node's."""
    return Trouble(
        "unknown",
        tr("This board answers, but not as a Funkspatz node."),
        tr("Set it up again: spatz flash. It keeps its key."),
    )


def _anything(said: Any) -> Any:
    return said


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _is_light(value: Any) -> bool:
    return isinstance(value, dict) and all(type(value.get(name)) is int for name in ("pin", "on"))


def _is_dev_eui(value: Any) -> bool:
    return isinstance(value, str) and bool(_DEV_EUI.fullmatch(value))


_WHO: Mapping[str, Callable[[Any], bool]] = {
    "name": _is(str),
    "board": _is(str),
    "led": _is_light,
    "safe_window_s": lambda value: type(value) is int and 0 <= value <= _MOST_SECONDS,
    "dev_eui": _is_dev_eui,
}
_LOOK: Mapping[str, Callable[[Any], bool]] = {
    "manifest": _is(str),
    "version": _is(str),
    "mpy": _is(int),
    "dev_eui": _is_dev_eui,
}


def _who(said: Any) -> dict[str, Any]:
    """Its config.json may be damaged, or a person's work: what makes no sense in it is not known, the rest is."""
    return {name: value for name, value in _object(said).items() if name in _WHO and _WHO[name](value)}


def _look(said: Any) -> dict[str, Any]:
    files = _object(_object(said)["files"])
    if not all(isinstance(digest, str) for digest in files.values()):
        raise _NotOurs
    rest = {name: value for name, value in said.items() if name in _LOOK and value is not None}
    if not all(_LOOK[name](value) for name, value in rest.items()):
        raise _NotOurs
    return {**rest, "files": files}


def _object(said: Any) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise _NotOurs
    return said


def _paths(said: Any) -> list[str]:
    if not isinstance(said, list) or not all(isinstance(path, str) for path in said):
        raise _NotOurs
    return said


def _count(said: Any) -> int:
    if type(said) is not int:
        raise _NotOurs
    return said


def _content(said: Any) -> str | None:
    if said is not None:
        base64.b64decode(said)
    return said


_CHECKED: Mapping[str, Callable[[Any], Any]] = {
    snippets.COUNT: _count,
    snippets.WHO: _who,
    snippets.LOOK: _look,
    snippets.LIST_LOG: _paths,
    snippets.READ: _content,
    snippets.SWITCH: _paths,
}
