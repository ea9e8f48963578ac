"""Labels: what is on them can be read, fits the sheet, and holds nothing secret."""

from __future__ import annotations

import ast
import json
import re
import secrets
import zlib
from pathlib import Path

import pytest
import segno
from nest import town
from nest.archive import open_database
from nest.registry import Registry
from spatz.labels import content, lights, pdf
from spatz.labels.content import label, payload, printed
from spatz.labels.sheet import PAGE_MM, SHEETS, places
from spatz.labels.shortcode import ALPHABET, short_code
from typer.testing import CliRunner

DEV_EUI = bytes.fromhex("f412fafffe0a0b0c")
JOIN_EUI = bytes.fromhex("0200000000000001")
PT_MM = 25.4 / 72
ROOT = Path(__file__).parents[2]


def streams(file: bytes) -> list[bytes]:
    """Every content stream of the PDF, as it was before it was packed."""
    found = []
    for match in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", file, re.DOTALL):
        try:
            found.append(zlib.decompress(match[1]))
        except zlib.error:
            found.append(match[1])
    return found


def rectangles(stream: bytes) -> list[tuple[float, float, float, float]]:
    """(left, top, width, height) in mm from the upper left corner, of everything that is filled."""
    result = []
    for match in re.finditer(rb"([-\d.]+) ([-\d.]+) ([-\d.]+) ([-\d.]+) re f", stream):
        x, y, width, height = (float(number) * PT_MM for number in match.groups())
        result.append((x, PAGE_MM[1] - y, width, -height))
    return result


def texts(file: bytes) -> str:
    """Everything that is written on it."""
    found = re.findall(rb"\((.*?)(?<!\\)\) Tj", b"\n".join(streams(file)))
    return "\n".join(text.replace(b"\\(", b"(").replace(b"\\)", b")").decode("cp1252") for text in found)


def matrix(of: list[tuple[float, float, float, float]], size: int) -> list[list[int]]:
    """The QR code that these rectangles draw."""
    left, top = min(r[0] for r in of), min(r[1] for r in of)
    module = (max(r[1] + r[3] for r in of) - top) / size
    rows = [[0] * size for _ in range(size)]
    for x, y, width, _ in of:
        start = round((x - left) / module)
        for column in range(start, start + round(width / module)):
            rows[round((y - top) / module)][column] = 1
    return rows


# The short code


def test_short_codes_of_one_batch_are_different() -> None:
    first = int.from_bytes(DEV_EUI, "big")
    codes = {short_code((first + step).to_bytes(8, "big")) for step in range(4096)}
    assert len(codes) == 4096
    assert all(len(code) == 4 and set(code) <= set(ALPHABET) for code in codes)


def test_short_codes_have_nothing_that_looks_alike() -> None:
    for alike in ("0OQ", "1IL", "2Z", "5S", "6G", "8B", "UV"):
        assert len(set(ALPHABET) & set(alike)) <= 1, alike
    assert short_code(DEV_EUI) == "C46W", "it is on labels that hang outside: it never changes"


# The sheet


@pytest.mark.parametrize("name", SHEETS)
def test_labels_lie_on_the_paper_side_by_side(name: str) -> None:
    sheet = SHEETS[name]
    spots = list(places(sheet, sheet.count + 1))
    assert [page for page, _, _ in spots] == [0] * sheet.count + [1]
    for _, left, top in spots:
        assert left >= 0 <= top
        assert left + sheet.width_mm <= PAGE_MM[0] + 0.01
        assert top + sheet.height_mm <= PAGE_MM[1]
    assert len(set(spots)) == len(spots)
    assert sheet.step_x_mm >= sheet.width_mm
    assert sheet.step_y_mm >= sheet.height_mm


def test_used_up_labels_are_skipped() -> None:
    sheet = SHEETS["3x8"]
    assert next(places(sheet, 1, 4)) == (0, 70.0, 4.5 + 36.0)


# The label


@pytest.mark.parametrize("name", SHEETS)
def test_the_qr_code_can_be_read(name: str) -> None:
    """Its modules are those of the standard for this text, large enough, with the quiet zone around them."""
    sheet = SHEETS[name]
    made = label("amsel", DEV_EUI, JOIN_EUI, town="Bad Belzig")
    assert made.payload == "LW:D0:0200000000000001:F412FAFFFE0A0B0C:00000000"
    code = segno.make(made.payload, error="Q", micro=False, boost_error=False)
    assert code.mode == "alphanumeric"
    size = len(code.matrix)
    drawn = rectangles(streams(pdf.draw(sheet, [made]))[0])
    assert matrix(drawn, size) == [list(row) for row in code.matrix]
    left, top = min(r[0] for r in drawn), min(r[1] for r in drawn)
    bottom, right = max(r[1] + r[3] for r in drawn), max(r[0] + r[2] for r in drawn)
    assert bottom - top >= 18
    quiet = 4 * (bottom - top) / size - 0.02
    assert left - sheet.left_mm >= quiet
    assert top - sheet.top_mm >= quiet
    assert sheet.top_mm + sheet.height_mm - bottom >= quiet
    written = re.findall(rb"BT ([\d.]+) ", streams(pdf.draw(sheet, [made]))[0])
    assert min(float(x) * PT_MM for x in written) - right >= quiet


def test_name_code_town_and_contact_are_on_it_with_umlauts() -> None:
    made = label("Grünfink", DEV_EUI, JOIN_EUI, town="Bölzig", contact="Frau Müßig (Küche)", language="de")
    text = texts(pdf.draw(SHEETS["3x8"], [made]))
    for expected in ("Grünfink", "C46W", "Funkspatz aus Bölzig", "Fragen: Frau Müßig (Küche)", "F412FAFFFE0A0B0C"):
        assert expected in text
    english = texts(pdf.draw(SHEETS["3x8"], [label("x", DEV_EUI, JOIN_EUI, town="Y", language="en")]))
    assert "Measures the weather." in english
    assert "Questions" not in english


@pytest.mark.parametrize(
    ("text", "shown"),
    [("Žižkov Łódź", "Žižkov Lódz"), ("Gürlitz “€”", "Gürlitz “€”"), ("Σπίτι 🐦", "????? ?"), ("a\nb\x1b", "a b ")],
)
def test_signs_that_the_font_has_not(text: str, shown: str) -> None:
    assert printed(text) == shown


@pytest.mark.parametrize("name", SHEETS)
def test_long_names_stay_on_their_label(name: str) -> None:
    sheet = SHEETS[name]
    made = label("Wintergoldhähnchen " * 4, DEV_EUI, JOIN_EUI, town="Neustadt " * 11, contact="M" * 60)
    from fpdf.fonts import CORE_FONTS_CHARWIDTHS as WIDTHS

    stream = streams(pdf.draw(sheet, [made]))[0].decode("cp1252")
    fonts = {"F1": "helveticaB", "F2": "courierB", "F3": "helvetica"}
    size, font, seen = 0.0, "", 0
    for part in re.finditer(r"/(F\d) ([\d.]+) Tf|BT ([\d.]+) ([\d.]+) Td \((.*?)\) Tj", stream):
        if part[1]:
            font, size = fonts[part[1]], float(part[2])
            continue
        seen += 1
        width = sum(WIDTHS[font].get(chr(ord(sign)) if ord(sign) < 256 else "\x85", 600) for sign in part[5])
        assert float(part[3]) * PT_MM + width * size / 1000 * PT_MM <= sheet.left_mm + sheet.width_mm
        assert PAGE_MM[1] - float(part[4]) * PT_MM <= sheet.top_mm + sheet.height_mm
    assert seen == 6


# The command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "town"
    made = town.create(path, "Bad Bölzig")
    engine = open_database(made.database)
    for number, slug in enumerate(("amsel", "zeisig", "star")):
        Registry(engine).add(slug, bytes([*DEV_EUI[:7], number]), JOIN_EUI, KEY)
    engine.dispose()
    return path


KEY = secrets.token_bytes(16)


def run(*arguments: str, status: int = 0) -> str:
    from spatz.cli import app

    ended = CliRunner().invoke(app, ["labels", *arguments], env={"LANGUAGE": "en"})
    if status == 0:
        assert ended.exit_code == 0, ended.output + repr(ended.exception)
        return ended.output
    assert ended.exception is not None
    return str(ended.exception)


def test_nothing_of_a_key_is_in_the_file(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "sheet.pdf"
    said = json.loads(run("--town", str(folder), "--output", str(output), "--json"))
    assert [one["name"] for one in said["labels"]] == ["amsel", "star", "zeisig"]
    file = output.read_bytes()
    assert file.startswith(b"%PDF-")
    everything = [file, *streams(file), json.dumps(said).encode()]
    for at in range(len(KEY) - 3):
        part = KEY[at : at + 4]
        for form in (part, part.hex().encode(), part.hex().upper().encode()):
            assert not any(form in piece for piece in everything)


def test_only_the_nodes_that_are_named_in_that_order(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "sheet.pdf"
    run("star", "amsel", "--town", str(folder), "--output", str(output), "--layout", "2x7", "--skip", "13")
    assert len(streams(output.read_bytes())) >= 2, "the second is on another sheet"
    text = texts(output.read_bytes())
    assert text.index("star") < text.index("amsel")
    assert "zeisig" not in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("uhu",), "There is no node 'uhu'."),
        (("--skip", "24"), "A sheet has 24 labels."),
        (("--output", "/nowhere/at/all.pdf"), "cannot be written"),
    ],
)
def test_mistakes_are_said(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    assert words in run("--town", str(folder), *arguments, status=2)


# The card


def test_the_card_says_what_the_firmware_shows() -> None:
    source = (ROOT / "firmware/node/lights.py").read_text(encoding="utf-8")
    shown = {
        ast.unparse(node.targets[0]): node.value.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, bytes)
    }
    assert {name: tuple(10 * unit for unit in pattern) for name, pattern in shown.items()} == {
        name: spans for name, spans, *_ in lights.PATTERNS
    }


@pytest.mark.parametrize(("language", "words"), [("de", "Ein Gateway hat mich gehört."), ("en", "A gateway heard me.")])
def test_the_card_is_one_page_in_both_languages(language: str, words: str) -> None:
    file = lights.draw(language)
    assert words in texts(file)
    pages = [stream for stream in streams(file) if b" re f" in stream]
    assert len(pages) == 1
    for left, top, width, height in rectangles(pages[0]):
        assert left >= 0 <= top
        assert left + width <= PAGE_MM[0]
        assert top + height <= PAGE_MM[1]


def test_the_payload_is_upper_case_and_names_nobody() -> None:
    assert payload(JOIN_EUI, DEV_EUI).endswith(":00000000")
    assert payload(JOIN_EUI, DEV_EUI).isupper()
    assert content.PROFILE_ID == "00000000"
