"""The journal's statements for PostgreSQL. They are known by their text for SQLite, and made from the same tables.

A statement that `statements` has made is compiled again for PostgreSQL; one that somebody wrote by hand has its `?`
numbered. OR REPLACE and OR IGNORE become ON CONFLICT.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

from sqlalchemy import Insert, Table, Update
from sqlalchemy.dialects.postgresql.base import PGDialect

from nest.archive import schema, statements
from nest.archive.postgres import LAST_SEQ

_DIALECT = PGDialect(paramstyle="numeric_dollar")
_NUMBER = re.compile(r"\$(\d+)")

_BY_HAND = {statements.Sql.last_seq: LAST_SEQ}


@dataclasses.dataclass(frozen=True, slots=True)
class Statement:
    """One statement; and where there is a better way for many rows than one by one, how that goes."""

    text: str  # with $1, $2 …
    copy: str = ""  # COPY … FROM STDIN: for an INSERT of plain rows
    many: str = ""  # takes an array per column …
    keys: tuple[int, ...] = ()  # … and means the same only if no two rows agree in all of these columns


@functools.lru_cache(maxsize=1024)
def translate(text: str) -> Statement:
    """What `text`, a statement for SQLite, is for PostgreSQL."""
    if text in _BY_HAND:
        return Statement(_BY_HAND[text])
    if text not in statements.SOURCES:
        return Statement(_by_hand(text))
    source, given = statements.SOURCES[text]
    if isinstance(source, Insert):
        source = source.inline()  # nobody asks for the number it got
    compiled = source.compile(dialect=_DIALECT)
    names = list(compiled.positiontup or ())
    made = _NUMBER.sub(lambda found: f"${given.index(names[int(found[1]) - 1]) + 1}", str(compiled))
    types = [compiled.binds[name].type.compile(_DIALECT) for name in given]
    if isinstance(source, Insert) and isinstance(source.table, Table):
        return _insert(text, made, source.table, given, types)
    if isinstance(source, Update):
        return _update(made, types)
    return Statement(made)


def _insert(text: str, made: str, table: Table, given: tuple[str, ...], types: list[str]) -> Statement:
    head, _, values = made.partition(" VALUES ")
    if re.sub(r"::\w+", "", values) != f"({', '.join(f'${number}' for number in range(1, len(given) + 1))})":
        return Statement(made + _on_conflict(text))  # something else stands there than what is given
    conflict = _on_conflict(text)
    if not conflict:
        return Statement(made, copy=f"COPY {head.removeprefix('INSERT INTO ')} FROM STDIN")
    columns = re.findall(r"\w+", head.partition("(")[2])
    replaced = conflict.startswith(" ON CONFLICT (")
    keys = tuple(columns.index(column.name) for column in table.primary_key) if replaced else ()
    many = f"{head} SELECT * FROM {_unnest(types)}{conflict}"  # noqa: S608  nothing of it comes from outside
    return Statement(made + conflict, many=many, keys=keys)


def _update(made: str, types: list[str]) -> Statement:
    """`UPDATE t SET a=$1 WHERE t.id = $2` for many rows: `UPDATE t SET a=given.p1 FROM … WHERE t.id = given.p2`."""
    head, _, conditions = made.partition(" WHERE ")
    equal = [(name, int(number) - 1) for name, number in re.findall(r"\.\"?(\w+)\"? = \$(\d+)", conditions)]
    changed = set(re.findall(r"(\w+)\"?=", head))
    if not equal or changed & {name for name, _ in equal} or " OR " in conditions:
        return Statement(made)  # one row may be changed by two of them, and the order would matter
    names = ", ".join(f"p{number}" for number in range(1, len(types) + 1))
    rows = f"{_unnest(types)} AS given({names})"
    head, conditions = (_NUMBER.sub(r"given.p\1", part) for part in (head, conditions))
    return Statement(made, many=f"{head} FROM {rows} WHERE {conditions}", keys=tuple(place for _, place in equal))


def _unnest(types: list[str]) -> str:
    return f"unnest({', '.join(f'${number}::{kind}[]' for number, kind in enumerate(types, 1))})"


def _by_hand(text: str) -> str:
    number = 0

    def numbered(found: re.Match[str]) -> str:
        nonlocal number
        if found[0] != "?":
            return found[0]  # inside quotes
        number += 1
        return f"${number}"

    plain = re.sub(r"INSERT OR (REPLACE|IGNORE) INTO", "INSERT INTO", text)
    return re.sub(r"'[^']*'|\"[^\"]*\"|\?", numbered, plain) + _on_conflict(text)


def _on_conflict(text: str) -> str:
    """What stands at the end for an OR REPLACE or OR IGNORE at the beginning."""
    found = re.match(r"INSERT OR (REPLACE|IGNORE) INTO (\w+) \(([^)]*)\)", text)
    if found is None:
        return ""
    if found[1] == "IGNORE":
        return " ON CONFLICT DO NOTHING"
    key = [column.name for column in schema.metadata.tables[found[2]].primary_key]
    others = [name for name in re.findall(r"\w+", found[3]) if name not in key]
    changes = ", ".join(f"{_quoted(name)} = excluded.{_quoted(name)}" for name in others)
    return f" ON CONFLICT ({', '.join(map(_quoted, key))}) DO " + (f"UPDATE SET {changes}" if others else "NOTHING")


def _quoted(name: str) -> str:
    return _DIALECT.identifier_preparer.quote(name)


def array(values: Any) -> str:
    """Values of one column as PostgreSQL writes an array: numbers, truth, text, bytes, None."""
    plain = {*map(type, values)} <= _PLAIN
    return f"{{{','.join(map(repr, values) if plain else map(_element, values))}}}"


_PLAIN = {int, float, bool}


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if type(value) in _PLAIN:
        return repr(value)
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
