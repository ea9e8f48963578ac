"""Labels as a PDF, by fpdf2, with QR codes by segno. Both are imported here only when something is drawn.

The fonts are those that every PDF reader brings (Helvetica, Courier), so no font file is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from spatz.labels.content import ENCODING, Label
from spatz.labels.sheet import PAGE_MM, Sheet, places

if TYPE_CHECKING:
    from fpdf import FPDF

ERROR_CORRECTION = "Q"  # a quarter may be scratched off: labels live outside
QUIET_MODULES = 4  # ISO/IEC 18004: as wide as that around it is nothing
_QR_MM = 22.0  # the code itself; 33 modules of 0.67 mm, which any telephone reads from a hand's breadth
_EDGE_MM = 2.5  # what printers cannot reach, and cutters cut off
_MM_PER_PT = 25.4 / 72


def draw(sheet: Sheet, labels: Sequence[Label], skip: int = 0) -> bytes:
    """The PDF of these labels; `skip` of the first sheet are used up already."""
    pdf = new_pdf()
    at_page = -1
    for label, (page, left, top) in zip(labels, places(sheet, len(labels), skip), strict=True):
        while at_page < page:
            pdf.add_page()
            at_page += 1
        _draw(pdf, sheet, label, left, top)
    return bytes(pdf.output())


def new_pdf() -> FPDF:
    from fpdf import FPDF

    pdf = FPDF(unit="mm", format=PAGE_MM)
    pdf.core_fonts_encoding = ENCODING
    pdf.set_auto_page_break(False)
    pdf.set_margin(0)
    pdf.set_title("Funkspatz")
    pdf.set_creator("Funkspatz")
    return pdf


def runs(payload: str) -> Iterator[tuple[int, int, int]]:
    """The dark modules of the code, as (column, row, how many side by side)."""
    import segno

    code = segno.make(payload, error=ERROR_CORRECTION, micro=False, boost_error=False)
    for row, modules in enumerate(code.matrix):
        start = None
        for column, dark in enumerate([*modules, 0]):
            if dark and start is None:
                start = column
            elif not dark and start is not None:
                yield start, row, column - start
                start = None


def modules(payload: str) -> int:
    """How many modules the code has on a side."""
    return 1 + max(row for _, row, _ in runs(payload))


def _draw(pdf: FPDF, sheet: Sheet, label: Label, left: float, top: float) -> None:
    module = _QR_MM / modules(label.payload)
    quiet = QUIET_MODULES * module
    qr_left = left + max(_EDGE_MM, quiet)
    qr_top = top + (sheet.height_mm - _QR_MM) / 2
    for column, row, length in runs(label.payload):
        pdf.rect(qr_left + column * module, qr_top + row * module, length * module, module, style="F")
    text_left = qr_left + _QR_MM + quiet
    width = left + sheet.width_mm - _EDGE_MM - text_left
    y = top + _EDGE_MM + 3
    y += _line(pdf, label.name, text_left, y, width, "Helvetica", "B", 18, 7)
    y += _line(pdf, label.code, text_left, y, width, "Courier", "B", 18, 10) + 1
    for text in label.lines:
        y += _line(pdf, text, text_left, y, width, "Helvetica", "", 8, 5)


def _line(
    pdf: FPDF, text: str, left: float, top: float, width: float, font: str, style: str, most_pt: float, least_pt: float
) -> float:
    """One line, as large as fits; what does not fit even small is cut off. Returns its height in mm."""
    size = most_pt
    pdf.set_font(font, style, size)
    while pdf.get_string_width(text) > width and size > least_pt:
        size -= 0.5
        pdf.set_font(font, style, size)
    if pdf.get_string_width(text) > width:
        while text and pdf.get_string_width(text + "…") > width:
            text = text[:-1]
        text += "…"
    height = size * _MM_PER_PT
    pdf.text(left, top + height * 0.8, text)
    return height * 1.2
