"""What stands on a label: the node's name, its short code, what it is and whom to ask. Nothing secret."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from nest.errors import UserError
from nest.i18n import tr, translate

from spatz.labels.shortcode import short_code

PROFILE_ID = "00000000"
"""Vendor and profile: 0000 is nobody's, a made-up number would be somebody's."""

ENCODING = "windows-1252"  # of the fonts that every PDF reader brings
# letters without an accent that could be left away
_SPELLED = str.maketrans({"ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ħ": "h", "ı": "i"})


@dataclass(frozen=True, slots=True)
class Label:
    """One label. `lines` stand below the code, the first one the most important."""

    name: str
    code: str
    payload: str
    lines: tuple[str, ...]


def payload(join_eui: bytes, dev_eui: bytes) -> str:
    """The QR code's text: LoRa Alliance TR005 1.0, "LW:D0:JoinEUI:DevEUI:ProfileID", upper case. It says which device
    this is; nobody can join with it, for the key is not in it."""
    return f"LW:D0:{join_eui.hex()}:{dev_eui.hex()}:{PROFILE_ID}".upper()


def label(name: str, dev_eui: bytes, join_eui: bytes, *, town: str, contact: str = "", language: str = "de") -> Label:
    """contact: whom people ask, for example a telephone number; without it they ask the town."""
    lines = (
        translate("Measures the weather. Please leave it here.", language),
        translate("Funkspatz of {town}", language).format(town=town),
        translate("Questions: {contact}", language).format(contact=contact) if contact else "",
        dev_eui.hex().upper(),
    )
    return Label(
        printed(name), short_code(dev_eui), payload(join_eui, dev_eui), tuple(printed(line) for line in lines if line)
    )


def printed(text: str) -> str:
    """`text` with the signs that the PDF's fonts have: those of western Europe. From others the accents are left away
    (č: c); a sign of another script becomes "?"."""
    result = []
    for sign in unicodedata.normalize("NFC", text).translate(_SPELLED):
        plain = "".join(part for part in unicodedata.normalize("NFD", sign) if not unicodedata.combining(part))
        for tried in (sign, plain, "?"):
            try:
                tried.encode(ENCODING)
            except UnicodeEncodeError:
                continue
            result.append(tried if tried.isprintable() else " ")
            break
    return "".join(result)


def chosen(wanted: Iterable[str], known: Iterable[str]) -> list[str]:
    """The nodes that labels are made for: those that are named, else all. Raises UserError: there is no such node."""
    known = list(known)
    wanted = list(wanted)
    for slug in wanted:
        if slug not in known:
            raise UserError(tr("There is no node {slug}.", slug=repr(slug)), tr("Look: spatz nodes list"))
    if not known:
        raise UserError(tr("This town has no nodes yet."), tr("Make one: spatz flash"))
    return wanted or known
