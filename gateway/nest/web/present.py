"""How numbers and states are said to people. Pure: the language comes in as an argument.

The page's own JavaScript says the same things while time goes by (`static/say.js`); both take their words from
`words()`, so there is one catalogue.

Rule: *missing is not zero.* A value that failed, was out of range or never came is words, never a number.
"""

from __future__ import annotations

from nest.i18n import translate
from nest.moments import AGES

STALE_AFTER_S = 3600  # four readings missed at the usual 15 minutes: by then something is wrong

# What stands in the place of a number, and why, by the state of a value.
STATES: dict[str, tuple[str, str]] = {
    "failed": ("Sensor failed", "The sensor gave no reading."),
    "out_of_range": ("Out of range", "The sensor measured something outside of what can be sent."),
    "missing": ("–", "This node has not sent this quantity."),
}

# How the readings of the last day came.
CAME = "{heard} heard, {recovered} healed, {backfilled} fetched, {missing} missing"

# Every further sentence that the JavaScript says.
_SPOKEN = {
    "came": CAME,
    "live": "Live: new readings appear by themselves.",
    "lost": "Connection lost. The page tries again by itself.",
    "heard": "New reading from {name}: {values}",
    "never": "Not heard yet",
    "stale": "No new reading for a long time",
    "nothing": "No readings in this time.",
    "unavailable": "The chart could not be loaded.",
    "summary": "Lowest {low} ({low_at}), highest {high} ({high_at}), {count} readings.",
    "single": "One reading: {low} ({low_at}).",
    "value": "Value",
    "time": "Time",
    "close": "Close",
    "zoom_in": "Zoom in",
    "zoom_out": "Zoom out",
    "chart_of": "{quantity} at {name}",
}


def number(value: float, decimals: int, language: str) -> str:
    """21.4 -> `21.4`, in German `21,4`; always the quantity's decimals, and never `-0.0`."""
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    text = text.replace("-", "\N{MINUS SIGN}")
    return text.replace(".", ",") if language == "de" else text


def words(language: str) -> dict[str, object]:
    """Everything the JavaScript needs to speak this language."""
    return {
        "ages": [
            [None if below == float("inf") else below, unit, translate(message, language)]
            for below, unit, message in AGES
        ],
        "states": {state: [translate(text, language) for text in texts] for state, texts in STATES.items()},
        **{name: translate(message, language) for name, message in _SPOKEN.items()},
    }
