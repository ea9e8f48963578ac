"""The readings in a file of the folder `interrupted` of a town: what `spatz flash` kept of a node, or has put aside."""

from __future__ import annotations

from pathlib import Path

from nest.errors import UserError
from nest.i18n import tr
from nest.logs import printable

from spatz.attached import stored
from spatz.flash.keeping import unpacked


def read_put_aside(file: Path) -> tuple[str, list[stored.Stored]]:
    """(the file's name without its ending: DevEUI and number, the readings in it, oldest first), as `read_stored`.

    Raises UserError: it cannot be read, or there is no node's log in it.
    """
    try:
        log = unpacked(file)
    except OSError as error:
        raise UserError(
            tr("{file} cannot be read: {reason}.", file=file, reason=error.strerror or error),
            tr("Check the path for a typing mistake."),
        ) from error
    if not log:
        raise UserError(
            tr("{file} is no node's log, or it is damaged.", file=file),
            tr("What spatz flash has put aside lies in the town's folder: interrupted/*.zip"),
        )
    return printable(file.stem), stored.readings(log)
