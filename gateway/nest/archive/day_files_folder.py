"""The folder `data` of a town: its day files, and what describes them to any program (Frictionless Data: Table Schema
and Data Package, specs.frictionlessdata.io). All of it is public, and appears whole or not at all.

    data/datapackage.json           the whole: a resource for each node and set of columns
    data/amsel/schema.json          every column that this node's files ever had: type, unit, range, meaning
    data/amsel/2026-05-01.csv       see day_files.py
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nest.archive import day_files, schema, snapshots
from nest.quantities import Quantity, by_name

NAME = "data"  # in the town's folder
PACKAGE, SCHEMA = "datapackage.json", "schema.json"
_MODE, _FOLDER_MODE = 0o644, 0o755

_COLUMNS: dict[str, dict[str, Any]] = {
    "time": {
        "type": "datetime",
        "title": "Time of measuring",
        "description": "UTC; of what is missing an estimate",
        "constraints": {"required": True},
    },
    "received": {
        "type": "datetime",
        "title": "Time of hearing",
        "description": "UTC, of the radio frame that brought the reading; empty where none did",
    },
    "origin": {
        "type": "string",
        "title": "How it came",
        "description": "heard in a frame; recovered, exactly, from the parity of other frames; backfilled from the"
        " node's own log; other: another source; missing: the node has made this reading and nobody has it",
        "constraints": {"required": True, "enum": [*schema.ORIGIN_NAMES, day_files.MISSING]},
    },
    "session": {"type": "integer", "title": "JoinNonce", "description": "Only of what is missing"},
    "fcnt": {"type": "integer", "title": "Frame counter", "description": "Only of what is missing"},
    "part": {
        "type": "integer",
        "title": "Which reading of that frame",
        "description": "Only of what is missing; 0: the one it carried, k: the k-th that was not sent before it",
    },
    "quality": {
        "type": "string",
        "title": "Values that are none",
        "description": "quantity:failed (the sensor did not deliver) or quantity:out_of_range, with spaces between",
    },
    "flags": {
        "type": "string",
        "title": "Doubtful values",
        "description": "quantity:spike (a jump and a return), quantity:stuck (unchanged for hours) or"
        " quantity:neighbours (unlike the nodes nearby), with spaces between; nothing was deleted",
    },
}


class DataFolder:
    """See above. `town`: its slug and its name; `licence`: of the data, as an identifier of spdx.org, "" for none."""

    def __init__(self, path: Path, town: tuple[str, str], licence: str = "") -> None:
        self._path, self._town, self._licence = path, town, licence
        self._columns: dict[str, dict[str, tuple[str, ...]]] | None = None  # slug -> date -> quantities of its file

    def days(self) -> dict[str, set[int]]:
        """The Unix days of which there are files, by slug."""
        return {slug: {day for date in dates if (day := day_files.day_of(date)) is not None}
                for slug, dates in self._dates().items()}  # fmt: skip

    def read(self, slug: str, day: int) -> bytes:
        """A day's file. Raises OSError."""
        return (self._path / day_files.path_of(slug, day)).read_bytes()

    def stage(self, slug: str, day: int, content: bytes, *, sync: bool = True) -> Path:
        """Write a day's file beside its place. `sync`: have it on the disk. Raises OSError, ValueError."""
        target = self._path / day_files.path_of(slug, day)
        _make_folder(self._path)
        _make_folder(target.parent)
        return _write_part(target, content, sync=sync)

    def put(self, slug: str, day: int, part: Path, content: bytes, *, sync: bool = True) -> None:
        """Put what `stage` has written in its place. Raises OSError."""
        target = self._path / day_files.path_of(slug, day)
        part.replace(target)
        if sync:
            snapshots.sync_folder(target.parent)
        if self._columns is not None:
            self._columns.setdefault(slug, {})[target.stem] = _quantities_of(content)

    def describe(self, names: Mapping[str, str]) -> None:
        """Write the data package and the schema of each node; `names`: slug -> name. Raises OSError."""
        columns = self._load()
        resources: list[dict[str, Any]] = []
        for slug, dates in sorted(columns.items()):
            if dates:
                resources += self._resources(slug, names.get(slug, slug), dates)
        if not resources:
            return
        package: dict[str, Any] = {
            "profile": "tabular-data-package",
            "name": self._town[0],
            "title": self._town[1],
            "description": "What the nodes of this town have measured. Times are UTC, a file is a UTC day.",
        }
        if self._licence:
            package["licenses"] = [{"name": self._licence}]
        _write(self._path / PACKAGE, {**package, "resources": resources})

    def _resources(self, slug: str, name: str, dates: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
        groups: dict[tuple[str, ...], list[str]] = {}
        for date in sorted(dates):
            groups.setdefault(dates[date], []).append(f"{slug}/{date}.csv")
        every = {quantity for group in groups for quantity in group}
        whole = tuple(quantity for quantity in by_name() if quantity in every)
        _write(self._path / slug / SCHEMA, table_schema(whole))
        return [
            {
                "name": slug if not number else f"{slug}.{number + 1}",
                "title": name,
                "profile": "tabular-data-resource",
                "path": paths,
                "format": "csv",
                "mediatype": "text/csv",
                "encoding": "utf-8",
                "dialect": {"lineTerminator": "\r\n"},
                "quantities": group,  # ours: what `_said` reads
                "schema": f"{slug}/{SCHEMA}" if group == whole else table_schema(group),
            }
            for number, (group, paths) in enumerate(sorted(groups.items(), key=lambda item: item[0] != whole))
        ]

    def _load(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """The columns of every file that is there: as the package says, or where that is older, its first line."""
        if self._columns is None:
            self._columns = {}
            said, written_at = self._said()
            for slug, dates in self._dates().items():
                of_slug = self._columns[slug] = {}
                for date in dates:
                    file = self._path / slug / f"{date}.csv"
                    known = said.get(f"{slug}/{date}.csv")
                    if known is None or file.stat().st_mtime >= written_at:
                        with file.open("rb") as content:
                            known = _quantities_of(content.readline(10_000))
                    of_slug[date] = known
        return self._columns

    def _said(self) -> tuple[dict[str, tuple[str, ...]], float]:
        """The quantities of each file by its path, as the package has them, and when it was written."""
        found: dict[str, tuple[str, ...]] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            file = self._path / PACKAGE
            written_at = file.stat().st_mtime
            for resource in json.loads(file.read_bytes())["resources"]:
                names = tuple(name for name in by_name() if name in resource["quantities"])
                found.update(dict.fromkeys(resource["path"], names))
            return found, written_at
        return {}, 0.0

    def _dates(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for folder in sorted(self._path.iterdir()):
                if folder.is_dir() and not folder.name.startswith("."):
                    with contextlib.suppress(ValueError):
                        day_files.checked(folder.name)
                        files = (name[: -len(".csv")] for name in os.listdir(folder) if name.endswith(".csv"))
                        found[folder.name] = sorted(date for date in files if day_files.day_of(date) is not None)
        return found


def table_schema(names: Iterable[str]) -> dict[str, Any]:
    """The Table Schema of files with these quantities."""
    fields = [{"name": name, **(_COLUMNS.get(name) or _field(by_name()[name]))} for name in day_files.columns(names)]
    return {"fields": fields, "missingValues": [""]}


def _field(quantity: Quantity) -> dict[str, Any]:
    return {
        "type": "number",
        "title": quantity.label_en,
        "description": quantity.meaning_en,
        "unit": quantity.unit,
        "ucum": quantity.ucum,
        "resolution": quantity.resolution,
        "constraints": {"minimum": quantity.minimum, "maximum": quantity.maximum},
    }


def _quantities_of(content: bytes) -> tuple[str, ...]:
    """Those in the header of a day file."""
    given = content.split(b"\r\n", 1)[0].decode("ascii", "replace").split(",")
    return tuple(name for name in by_name() if name in given)


# -- writing


def _write(target: Path, value: object) -> None:
    content = json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"
    with contextlib.suppress(FileNotFoundError):
        if target.read_bytes() == content:
            return
    _write_part(target, content).replace(target)
    snapshots.sync_folder(target.parent)


def _write_part(target: Path, content: bytes, *, sync: bool = True) -> Path:
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "wb") as out:
        os.fchmod(out.fileno(), _MODE)  # whatever the umask: they are public
        out.write(content)
        if sync:
            out.flush()
            os.fsync(out.fileno())
    return part


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(exist_ok=True)
        path.chmod(_FOLDER_MODE)
