"""Mutants of a Python file: copies that differ from it in one small thing, which a good test sees.

What is changed, each in turn: comparisons; numbers by one and bytes by one; arithmetic and bit operators; `and`, `or`,
`not`, each operand left out; conditions always true or false; loops never entered; slices by one at each end; entries
of tables and tuples left out; arguments swapped with their neighbours, calls replaced by their argument; byte orders;
results replaced by None; statements left out. Not changed: what a raised error says, types, and `|` to `+` or `^`,
which do the same on bit fields that do not overlap.
"""

from __future__ import annotations

import ast
import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any, TypeVar

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE, ast.NotEq),
    ast.LtE: (ast.Lt, ast.Gt, ast.Eq),
    ast.Gt: (ast.GtE, ast.LtE, ast.NotEq),
    ast.GtE: (ast.Gt, ast.Lt, ast.Eq),
    ast.Eq: (ast.NotEq, ast.LtE, ast.GtE),
    ast.NotEq: (ast.Eq, ast.Lt, ast.Gt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.FloorDiv, ast.Add),
    ast.FloorDiv: (ast.Mult, ast.Mod),
    ast.Mod: (ast.FloorDiv, ast.Mult),
    ast.BitAnd: (ast.BitOr, ast.BitXor),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitAnd, ast.BitOr),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
NAMES = {"min": "max", "max": "min"}
STRINGS = {"little": "big", "big": "little"}
LEFT_OUT = "…"

Node = TypeVar("Node", bound=ast.AST)
# where it is, how that reads afterwards, what takes the node's place
Variant = tuple[ast.expr | ast.stmt, str, ast.AST]


@dataclass(frozen=True)
class Mutant:
    function: str  # that it is in, "" for the file itself
    line: int
    before: str  # the source, its lines made one
    after: str  # the same with the mutation
    code: CodeType


def mutants(source: str, name: str) -> Iterator[Mutant]:
    """Every mutant of a file that reads otherwise than the file and every other one, in the order of the file."""
    tree = ast.parse(source)
    functions = _functions(tree)
    texts: dict[ast.stmt, set[str]] = {}  # what a statement of the file, and each of its mutants, read
    lasts = {node.body[-1] for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    found: list[tuple[int, int, Mutant]] = []
    for top, parent in [(statement, node) for statement in tree.body for node in ast.walk(statement)]:
        seen = texts.setdefault(top, {ast.unparse(top)})
        for field, value in ast.iter_fields(parent):
            for index, node in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(node, ast.expr | ast.stmt):
                    continue
                for spot, after, other in _variants(node, last=node in lasts, inside=node in functions):
                    # a copy, as it may be a part of the tree, which has a place of its own
                    _put(parent, field, index, ast.fix_missing_locations(ast.copy_location(copy.copy(other), node)))
                    text = ast.unparse(top)
                    if text not in seen:
                        seen.add(text)
                        with warnings.catch_warnings():
                            warnings.simplefilter("ignore")  # `x is not 0`
                            code = compile(tree, name, "exec")
                        shown = Mutant(functions.get(node, ""), spot.lineno, *_shown(source, spot, after), code)
                        found.append((spot.lineno, spot.col_offset, shown))
                    _put(parent, field, index, node)
    yield from (mutant for _, _, mutant in sorted(found, key=lambda item: item[:2]))


def _put(parent: ast.AST, field: str, index: int, node: ast.AST) -> None:
    value = getattr(parent, field)
    if isinstance(value, list):
        value[index] = node
    else:
        setattr(parent, field, node)


def _functions(tree: ast.Module) -> dict[ast.AST, str]:
    """Each node within a function: the function's name."""
    return {
        node: function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if node is not function
    }


def _shown(source: str, spot: ast.expr | ast.stmt, after: str) -> tuple[str, str]:
    """The lines that `spot` is in, as they are and with `after` in its place."""
    last = spot.end_lineno or spot.lineno
    lines = [line.encode() for line in source.splitlines()[spot.lineno - 1 : last]]
    head = lines[0][: spot.col_offset]
    tail = lines[-1][spot.end_col_offset :]
    return _in_one_line(b"\n".join(lines)), _in_one_line(head + after.encode() + tail)


def _in_one_line(text: bytes) -> str:
    return " ".join(text.decode().split())


def _variants(node: ast.expr | ast.stmt, *, last: bool, inside: bool) -> Iterator[Variant]:
    for other in _replacements(node):
        yield node, ast.unparse(ast.fix_missing_locations(copy.deepcopy(other))), other
    yield from _entries_left_out(node)
    if inside and not last and isinstance(node, ast.Assign | ast.AugAssign | ast.Return | ast.Break | ast.Continue):
        yield node, LEFT_OUT, ast.Pass()
    if isinstance(node, ast.Raise):
        yield node, LEFT_OUT, ast.Pass()
    if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
        yield node, LEFT_OUT, ast.Pass()
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        for value in (False,) if isinstance(node, ast.While) else (False, True):
            yield node.test, str(value), _changed(node, test=ast.Constant(value))
    if isinstance(node, ast.For):
        yield node.iter, "()", _changed(node, iter=ast.Tuple([], ast.Load()))
    if isinstance(node, ast.AugAssign):
        for kind in OPERATORS[type(node.op)]:
            other = _changed(node, op=kind())
            yield node, ast.unparse(other), other
    if isinstance(node, ast.Return) and not (isinstance(node.value, ast.Constant) or node.value is None):
        yield node, "return None", ast.Return(ast.Constant(None))


def _changed(node: Node, **fields: object) -> Node:
    other = copy.copy(node)
    for field, value in fields.items():
        setattr(other, field, value)
    return other


def _replacements(node: ast.AST) -> Iterator[ast.expr]:
    """Expressions to put in the place of an expression."""
    match node:
        case ast.Compare():
            for index, op in enumerate(node.ops):
                for kind in COMPARISONS[type(op)]:
                    yield _changed(node, ops=[*node.ops[:index], kind(), *node.ops[index + 1 :]])
        case ast.BinOp():
            for kind in OPERATORS[type(node.op)]:
                yield _changed(node, op=kind())
        case ast.BoolOp():
            yield _changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
            for index in range(len(node.values)):
                rest = node.values[:index] + node.values[index + 1 :]
                yield _changed(node, values=rest) if len(rest) > 1 else rest[0]
        case ast.UnaryOp():
            yield node.operand
        case ast.IfExp():
            yield _changed(node, body=node.orelse, orelse=node.body)
        case ast.Constant():
            yield from (ast.Constant(value) for value in _other_values(node.value))
        case ast.Subscript(slice=ast.Slice(lower=None, upper=None)):
            yield node.value
        case ast.Subscript(slice=ast.Slice() as bounds):
            for end in ("lower", "upper", "step"):
                bound = getattr(bounds, end)
                if bound is None:
                    continue
                yield _changed(node, slice=_changed(bounds, **{end: None}))
                if not isinstance(bound, ast.Constant):
                    for op in (ast.Add(), ast.Sub()):
                        moved = ast.BinOp(bound, op, ast.Constant(1))
                        yield _changed(node, slice=_changed(bounds, **{end: moved}))
        case ast.Call():
            args = node.args
            if isinstance(node.func, ast.Name) and node.func.id in NAMES:
                yield _changed(node, func=ast.Name(NAMES[node.func.id], ast.Load()))
                return
            for index in range(len(args) - 1):
                swapped = [*args[:index], args[index + 1], args[index], *args[index + 2 :]]
                yield _changed(node, args=swapped)
            named = node.func.id if isinstance(node.func, ast.Name) else "const"
            if len(args) == 1 and named != "const" and not named.endswith("Error"):
                yield args[0]


def _other_values(value: Any) -> Iterator[Any]:
    match value:
        case bool():
            yield not value
        case int():
            yield value + 1
            yield value - 1
        case bytes():
            for index, octet in enumerate(value):
                yield value[:index] + bytes([octet + 1 & 255]) + value[index + 1 :]
            yield value[:-1] if value else b"\0"
        case str() if value in STRINGS:
            yield STRINGS[value]
        case str() if value.startswith("<"):
            yield ">" + value[1:]
        case None:
            yield 0


def _entries_left_out(node: ast.AST) -> Iterator[Variant]:
    if isinstance(node, ast.Dict):
        for index, key in enumerate(node.keys):
            if key is not None:
                keys = node.keys[:index] + node.keys[index + 1 :]
                values = node.values[:index] + node.values[index + 1 :]
                yield key, LEFT_OUT, _changed(node, keys=keys, values=values)
    elif isinstance(node, ast.Tuple | ast.List) and isinstance(node.ctx, ast.Load):
        for index, entry in enumerate(node.elts):
            yield entry, LEFT_OUT, _changed(node, elts=node.elts[:index] + node.elts[index + 1 :])
