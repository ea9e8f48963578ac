"""Which language a visitor reads: `?lang=`, else `Accept-Language` (RFC 9110 section 12.5.4), else the town's."""

from __future__ import annotations

from nest.i18n import LANGUAGES

_MOST_RANGES = 20  # a browser sends two to six; more is somebody playing


def choose_language(asked: str | None, accept_language: str | None, town_language: str) -> str:
    """One of `nest.i18n.LANGUAGES`; nonsense in any argument falls through to the next one."""
    if asked and (language := _known(asked)):
        return language
    for preferred in _ranges(accept_language or ""):
        if language := _known(preferred):
            return language
    return _known(town_language) or LANGUAGES[0]


def _known(tag: str) -> str | None:
    primary = tag.strip().lower().split("-")[0]
    return primary if primary in LANGUAGES else None


def _ranges(header: str) -> list[str]:
    """The language ranges of the header, best first; those with `q=0` are refused and left out."""
    weighted: list[tuple[float, str]] = []
    for part in header.split(",")[:_MOST_RANGES]:
        tag, _, parameter = part.partition(";")
        try:
            weight = float(parameter.partition("=")[2]) if parameter.strip() else 1.0
        except ValueError:
            continue
        if weight > 0:
            weighted.append((weight, tag))
    return [tag for _, tag in sorted(weighted, key=lambda pair: -pair[0])]
