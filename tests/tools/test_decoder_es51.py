"""The JavaScript decoder is strict ECMAScript 5.1 (TS013-1.0.0): a real parser, and a list of what the tree holds."""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from nest.resources import boards_dir

esprima: Any = importlib.import_module("esprima")  # untyped, and pyright takes minutes to find out how

SCRIPT = (boards_dir() / "decoder.js").read_text(encoding="utf-8")

STATEMENTS = {
    "Program", "ExpressionStatement", "Directive", "BlockStatement", "EmptyStatement", "IfStatement", "ForStatement",
    "ForInStatement", "WhileStatement", "DoWhileStatement", "ReturnStatement", "BreakStatement", "ContinueStatement",
    "SwitchStatement", "SwitchCase", "ThrowStatement", "TryStatement", "CatchClause", "VariableDeclaration",
    "VariableDeclarator", "FunctionDeclaration",
}  # fmt: skip
EXPRESSIONS = {
    "FunctionExpression", "Identifier", "Literal", "ArrayExpression", "ObjectExpression", "Property", "UnaryExpression",
    "UpdateExpression", "BinaryExpression", "LogicalExpression", "AssignmentExpression", "ConditionalExpression",
    "CallExpression", "NewExpression", "StaticMemberExpression", "ComputedMemberExpression", "MemberExpression",
    "SequenceExpression", "ThisExpression",
}  # fmt: skip
GLOBALS = {"Math", "undefined"}
METHODS = {"push", "slice", "floor", "ceil", "pow"}  # called on arrays, and on Math


def trouble_in(script: str) -> list[str]:
    """What in `script` is not strict ECMAScript 5.1 without Buffer, console and the like."""
    try:
        tree: dict[str, Any] = esprima.parseScript(script, {"tokens": True}).toDict()
    except esprima.Error as error:
        return [str(error)]
    found, used, declared = [], set[str](), set[str]()
    if tree["body"][0].get("directive") != "use strict":
        found.append("not strict")
    for node, parent in nodes(tree, {}):
        kind = node["type"]
        if kind not in STATEMENTS | EXPRESSIONS or node.get("operator") in {"**", "**="}:
            found.append(kind)
        if kind == "VariableDeclaration" and node["kind"] != "var":
            found.append(node["kind"])
        if node.get("shorthand") or node.get("method") or (kind == "Property" and node.get("computed")):
            found.append("a property of ES2015")
        if (
            node.get("generator")
            or node.get("async")
            or (kind == "FunctionDeclaration" and parent["type"] != "Program")
        ):
            found.append(f"function of a later time: {node.get('id')}")
        if kind == "Literal" and re.match(r"0[bo]", str(node["raw"]), re.IGNORECASE):
            found.append(node["raw"])
        if kind == "CallExpression" and node["callee"]["type"].endswith("MemberExpression"):
            method = node["callee"]["property"].get("name")
            found += [] if method in METHODS else [f".{method}()"]
        if kind in {"FunctionDeclaration", "FunctionExpression"}:
            declared |= {one.get("name", "?") for one in (node.get("id") or {}, *node["params"])}
        if kind == "VariableDeclarator":
            declared.add(node["id"].get("name", "?"))
        if kind == "Identifier" and not is_a_name_of_a_property(node, parent):
            used.add(node["name"])
    values = [token["value"] for token in tree["tokens"]]
    found += ["a comma before )" for pair in itertools.pairwise(values) if pair == (",", ")")]
    found += ["\\u{" for value in values if "\\u{" in value]
    return found + sorted(used - declared - GLOBALS)


def nodes(node: Any, parent: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every node with its parent."""
    if isinstance(node, list):
        for one in node:
            yield from nodes(one, parent)
    elif isinstance(node, dict) and "type" in node:
        yield node, parent
        for key, value in node.items():
            if key not in {"tokens", "loc", "range", "regex"}:
                yield from nodes(value, node)


def is_a_name_of_a_property(node: dict[str, Any], parent: dict[str, Any]) -> bool:
    if parent["type"].endswith("MemberExpression"):
        return parent["property"] is node and not parent.get("computed")
    return parent["type"] == "Property" and parent["key"] is node


def test_it_is_strict_ecmascript_5_1() -> None:
    assert trouble_in(SCRIPT) == []


@pytest.mark.parametrize(
    "line",
    [
        "let a = 1;", "const a = 1;", "var a = (b) => b;", "var a = `b`;", "var a = {undefined};", "var a = 2 ** 3;",
        "var a = 0b11;", "var a = 0o17;", "var a = 017;", "var [a] = [1];", "function a(b = 1) { return b; }",
        "function a(...b) { return b; }", "var a = [...[1]];", "class A {}", "for (var a of [1]) {}",
        "function* a() {}", "async function a() {}", "var a = {b() { return 1; }};", "var a = {['b']: 1};",
        "if (1) { function a() {} }", "with (Math) {}", "console.log(1);", "var a = new Uint8Array(1);",
        "var a = Buffer;", "var a = [1].includes(1);", "a = 1;", "decodeUplink(1,);", "var a = '\\u{41}';",
        "var eval = 1;", "import a from 'b';",
    ],
)  # fmt: skip
def test_what_is_later_or_sloppy_is_found(line: str) -> None:
    """The check above sees what it is there for."""
    assert trouble_in(f"{SCRIPT}\n{line}\n")


def test_a_script_that_is_not_strict_is_found() -> None:
    assert trouble_in(SCRIPT.replace('"use strict";', "")) == ["not strict"]
