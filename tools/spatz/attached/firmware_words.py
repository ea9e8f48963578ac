"""The firmware's own words for what is wrong with a node, in the language of the person at the terminal.

The firmware speaks English. Its sentences stand here as it says them, with {fields} where it puts something in; the
test of `spatz doctor` walks the firmware's sources and finds the ones that are missing here or in de.po.
"""

from __future__ import annotations

import functools
import re

from nest.i18n import tr
from nest.logs import printable

SENTENCES = (
    # node/config.py, node/app.py, node/identity.py, node/cycle.py
    "This node has no config.json yet.",
    "config.json on this node is damaged.",
    "config.json on this node is not of format {format}, which this firmware reads.",
    'config.json on this node has no usable "{key}".',
    "config.json on this node has an interval or a safe window below zero.",
    "config.json does not fit this board ({detail}).",
    "config.json names a region that this firmware does not know.",
    "This node does not know who it is yet: it has no identity.",
    "The identity on this node is damaged.",
    "This node has used up its join numbers.",
    # node/hardware.py, node/pmu.py
    "no contact in config.json",
    "no I2C in config.json",
    "no pmu in config.json",
    "unknown radio {chip}",
    "the power chip does not answer, so the radio has no power",
    "this board has no power chip of the kind {number}",
    # radio/
    "a TCXO gets one of {voltages} mV",
    "no radio chip answers on the SPI bus",
    "no radio chip answers on the SPI bus ({detail})",
    "the radio cannot send as weakly as the law asks for with this antenna",
    "the radio did not finish sending",
    "the radio does not end its calibration",
    "the radio does not keep what is written to it",
    "the radio reports trouble with: {parts}",
    "the radio stays busy: is it connected, and has it power?",
)
_FIELD = re.compile(r"\\{(\w+)\\}")


def in_words(said: str) -> str:
    """What a node says in the person's language; what is not known as it is, after a sentence that says whose it is."""
    for sentence in SENTENCES:
        if found := _pattern(sentence).fullmatch(said):
            return tr(sentence, **{name: printable(value) for name, value in found.groupdict().items()})
    return tr("The node says: {error}", error=printable(said))


@functools.cache
def _pattern(sentence: str) -> re.Pattern[str]:
    return re.compile(_FIELD.sub(r"(?P<\1>.+)", re.escape(sentence)), re.DOTALL)
