"""Where labels are on a sheet of A4: in mm from its upper left corner. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

PAGE_MM = (210.0, 297.0)


@dataclass(frozen=True, slots=True)
class Sheet:
    """One kind of sheet, as it is sold: labels across and down, their size, the first one's place, from one to the
    next."""

    columns: int
    rows: int
    width_mm: float
    height_mm: float
    left_mm: float
    top_mm: float
    step_x_mm: float
    step_y_mm: float

    @property
    def count(self) -> int:
        return self.columns * self.rows


# As their makers draw them: Avery Zweckform 3475 and L7163, and all that are cut alike
SHEETS = {
    "3x8": Sheet(3, 8, 70.0, 36.0, 0.0, 4.5, 70.0, 36.0),
    "2x7": Sheet(2, 7, 99.1, 38.1, 4.65, 15.15, 101.6, 38.1),
}


def places(sheet: Sheet, count: int, skip: int = 0) -> Iterator[tuple[int, float, float]]:
    """(page from 0, left, top) of `count` labels; the first `skip` of the first page are used up already."""
    for number in range(skip, skip + count):
        page, place = divmod(number, sheet.count)
        row, column = divmod(place, sheet.columns)
        yield page, sheet.left_mm + column * sheet.step_x_mm, sheet.top_mm + row * sheet.step_y_mm
