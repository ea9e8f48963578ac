"""The card that says what the light says: one page of A4, to hang up at a workshop."""

from __future__ import annotations

from nest.i18n import translate

from spatz.labels.content import printed
from spatz.labels.pdf import new_pdf

# name of the pattern in firmware/node/lights.py, its (on, off) in ms, what is seen, what it says, what to do
PATTERNS = (
    (
        "LOOKING",
        (1000, 1000),
        "slow, even",
        "I am looking for a gateway.",
        "Wait five minutes. Then carry me nearer to the gateway, or up to a window.",
    ),
    ("HEARD", (80, 250, 80, 2000), "two short", "A gateway heard me.", "All is well. Hang me up."),
    (
        "SILENT",
        (1500, 2000),
        "one long",
        "I asked, and no gateway answered.",
        "Carry me nearer to the gateway. Is the antenna on?",
    ),
    (
        "NO_SENSOR",
        (80, 250, 80, 250, 80, 2000),
        "three short",
        "A sensor does not answer.",
        "Look at its cable and plug it in again, then press reset.",
    ),
    (
        "BROKEN",
        (80, 80),
        "flickers",
        "My program stumbled.",
        "Wait for the next reading. If it flickers again, tell a helper: spatz logs",
    ),
    (
        "SET_UP",
        (30, 1000),
        "very short, each second",
        "Nobody has set me up yet.",
        "Plug me into a computer: spatz flash",
    ),
)
DARK = (
    "dark",
    "I sleep, or I have no power.",
    "Press reset: the light speaks for a minute. Still dark? Battery, cable, then: spatz doctor",
)
_BAR_MM = 118.0
_BAR_MS = 6000
_SECOND_MM = _BAR_MM / (_BAR_MS / 1000)


def draw(language: str) -> bytes:
    """The PDF."""

    def say(text: str) -> str:
        return printed(translate(text, language))

    pdf = new_pdf()
    pdf.add_page()
    pdf.set_font("Helvetica", "B", 26)
    pdf.text(20, 28, say("What the light says"))
    pdf.set_font("Helvetica", "", 11)
    pdf.text(20, 36, say("For a minute after power-on or reset; on many boards also while at a computer."))
    y = 52.0
    for _, spans, seen, meaning, action in PATTERNS:
        _bar(pdf, spans, y)
        pdf.set_font("Helvetica", "B", 14)
        pdf.text(148, y + 7, say(seen))
        pdf.text(20, y + 19, say(meaning))
        pdf.set_font("Helvetica", "", 12)
        pdf.text(20, y + 26, say(action))
        y += 34
    seen, meaning, action = DARK
    pdf.set_font("Helvetica", "B", 14)
    pdf.text(148, y + 5, say(seen))
    pdf.text(20, y + 5, say(meaning))
    pdf.set_font("Helvetica", "", 12)
    pdf.text(20, y + 12, say(action))
    return bytes(pdf.output())


def _bar(pdf, spans: tuple[int, ...], top: float) -> None:
    """Six seconds of it: bright where the light is on."""
    pdf.set_fill_color(45, 45, 45)
    pdf.rect(20, top, _BAR_MM, 10, style="F")
    pdf.set_fill_color(255, 200, 0)
    at_ms, step = 0, 0
    while at_ms < _BAR_MS:
        length = spans[step % len(spans)]
        if step % 2 == 0:
            shown = max(min(length, _BAR_MS - at_ms) / 1000 * _SECOND_MM, 0.8)
            pdf.rect(20 + at_ms / 1000 * _SECOND_MM, top, min(shown, _BAR_MM), 10, style="F")
        at_ms += length
        step += 1
    pdf.set_fill_color(0, 0, 0)
