"""Names for nodes that nobody has named: songbirds."""

from __future__ import annotations

from collections.abc import Container

NAMES = (
    "amsel", "blaumeise", "buchfink", "dohle", "drossel", "elster", "feldlerche", "fitis", "gimpel", "girlitz",
    "goldammer", "grauammer", "gruenfink", "haubenlerche", "haussperling", "heckenbraunelle", "kernbeisser", "kleiber",
    "kohlmeise", "mauersegler", "mehlschwalbe", "misteldrossel", "moenchsgrasmuecke", "nachtigall", "neuntoeter",
    "pirol", "rauchschwalbe", "ringdrossel", "rohrammer", "rotkehlchen", "saatkraehe", "schafstelze", "schwanzmeise",
    "seidenschwanz", "singdrossel", "sommergoldhaehnchen", "sprosser", "sperling", "star", "stieglitz", "sumpfmeise",
    "tannenmeise", "trauerschnaepper", "uferschwalbe", "wacholderdrossel", "waldlaubsaenger", "wasseramsel",
    "weidenmeise", "wiedehopf", "wiesenpieper", "wintergoldhaehnchen", "zaunkoenig", "zeisig", "zilpzalp",
)  # fmt: skip


def node_name(index: int) -> str:
    """amsel, blaumeise, ... and when the songbirds run out amsel-2, blaumeise-2, ..."""
    lap, place = divmod(index, len(NAMES))
    return NAMES[place] if lap == 0 else f"{NAMES[place]}-{lap + 1}"


def free_name(taken: Container[str]) -> str:
    """The first of them that is not taken."""
    index = 0
    while node_name(index) in taken:
        index += 1
    return node_name(index)
