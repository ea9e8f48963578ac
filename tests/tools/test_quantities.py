"""The table of quantities: the node's copy is fresh, ranges are what the payload needs, mistakes are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from nest.errors import UserError
from nest.resources import boards_dir
from spatz import quantities
from spatz.quantities import load_quantities, render_table
from spatz.resources import firmware_dir

TEXT = (boards_dir() / "quantities.toml").read_text(encoding="utf-8")


def test_node_table_is_fresh() -> None:
    """Stale? Run python -m spatz.quantities."""
    assert (firmware_dir() / "payload/table.py").read_text(encoding="utf-8") == render_table(load_quantities())


def test_bits_never_move() -> None:
    """Whoever changes one of these breaks every frame that is already stored."""
    assert [(q.bit, q.name, q.minimum, q.resolution, q.bits) for q in load_quantities()] == [
        (0, "temperature", -60.0, 0.1, 11),
        (1, "humidity", 0.0, 0.5, 8),
        (2, "pressure", 680.0, 0.1, 12),
        (3, "battery", 2.0, 0.01, 8),
        (4, "pm2_5", 0.0, 0.1, 14),
        (5, "pm10", 0.0, 0.1, 14),
        (6, "co2", 0.0, 1.0, 13),
        (7, "illuminance", 0.0, 1.0, 17),
        (8, "soil_moisture", 0.0, 1.0, 7),
        (9, "soil_temperature", -30.0, 0.1, 10),
        (10, "rain", 0.0, 0.1, 16),
        (11, "water_level", -100.0, 0.1, 14),
    ]


def test_climate_set_fits_six_bytes() -> None:
    bits = sum(q.bits for q in load_quantities() if q.name in ("temperature", "humidity", "pressure", "battery"))
    assert 1 + (bits + 7) // 8 == 6


def test_decimals_show_the_resolution_and_no_more() -> None:
    for quantity in load_quantities():
        assert round(quantity.resolution, quantity.decimals) == quantity.resolution, quantity.name
        assert quantity.decimals == 0 or round(quantity.resolution, quantity.decimals - 1) != quantity.resolution


def test_meanings_are_sentences_in_both_languages() -> None:
    for quantity in load_quantities():
        for meaning in (quantity.meaning_en, quantity.meaning_de):
            assert meaning[0].isupper()
            assert meaning.endswith(".")
            assert len(meaning) < 160
        assert quantity.meaning_en != quantity.meaning_de


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("bit = 1\n", "bit = 0\n", "quantity.1.bit is 0, expected a value of its own"),
        ('name = "humidity"', 'name = "temperature"', "quantity.1.name"),
        ("resolution = 0.5", "resolution = 0.3", "quantity.1.resolution is 0.3, expected 1, or 1 divided by"),
        ("bits = 17 ", "bits = 30 ", "quantity.7.bits is 30, expected at most 24"),
    ],
)
def test_mistakes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, words: str) -> None:
    assert TEXT.count(old) == 1
    (tmp_path / "quantities.toml").write_text(TEXT.replace(old, new), encoding="utf-8")
    monkeypatch.setattr(quantities, "boards_dir", lambda: tmp_path)
    with pytest.raises(UserError) as caught:
        load_quantities()
    assert words in caught.value.message
    line = TEXT[: TEXT.index(old)].count("\n") + 1
    assert f"line {line}:" in caught.value.message
