"""What stands between a text that somebody sent and the engine: its tree, node by node.

Each node, each function, each table and each type must be on a list. Names of tables of the engine
are replaced by queries of ours, and an ad-hoc filter becomes a subquery: what runs is a tree that
was looked at as a whole, not a text with something put around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import types
from .errors import (
    ACCESS_DENIED,
    BAD_ARGUMENTS,
    NOT_IMPLEMENTED,
    READONLY,
    SYNTAX_ERROR,
    TOO_BIG,
    Kind,
    Problem,
)
from .names import SCANS, TYPE_LAST, WITH_TABLE, WITH_TYPE, Functions
from .nodes import FILE_FLAGS, NODE, NODES, PLAIN, SHAPES, VALUE, Node, literal, plain, within
from .tables import DATABASE, Tables
from .wishes import Wish

Parse = Callable[[str], Node]
REFUSED: Mapping[str, tuple[Kind, str]] = {
    "out_file": (READONLY, "INTO OUTFILE writes files, which nobody may here"),
    "table_function": (ACCESS_DENIED, "table functions are not called here: ask the views v_*"),
    "settings": (READONLY, "SETTINGS stand at the end of the whole query only"),
    "settings_ast": (READONLY, "SETTINGS stand at the end of the whole query only"),
    "format_ast": (SYNTAX_ERROR, "FORMAT stands at the end of the whole query only"),
    "recursive_with": (ACCESS_DENIED, "WITH RECURSIVE is not answered here"),
}
NAMED = frozenset({"name", "name_parts"})
MOST_FUNCTIONS = 1000
MOST_IN_LAMBDAS = 64
"""Functions called in a query, and in its lambdas: the engine ends no query while it works on one
block, and one array may have millions of elements."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A tree that may run. ``format`` is the one that stood in the text, "" where none did."""

    tree: Node
    wish: Wish
    format: str = ""


class Guard:
    """Checks trees; ``parse`` makes one of a condition."""

    def __init__(self, functions: Functions, tables: Tables, parse: Parse) -> None:
        self._functions, self._tables, self._parse = functions, tables, parse

    def check(self, tree: Node, wish: Wish, database: str = DATABASE) -> Checked:
        """Return what may run of a statement's tree.

        Raises Problem, by which nothing ran, and RecursionError for one that is too deep.
        """
        database = database or DATABASE
        if tree.get("type") != "SelectWithUnionQuery":
            raise Problem(READONLY, f"only SELECT is answered here, not {_shown(tree)}")
        tree, told = _without_settings(tree)
        wish = wish.with_settings(told)
        tree, form = _without_format(tree)
        filters = {
            self._tables.found(_parts(name), database)[1]: self._condition(text, database)
            for name, text in wish.filters.items()
        }
        walk = _Walk(self._functions, self._tables, database, _with_names(tree), filters)
        walk.check_names()
        made = walk.node(tree)
        _check_cost(made)
        return Checked(_limited(made, wish.limit), replace(wish, filters={}), form)

    def _condition(self, text: str, database: str) -> Node:
        """Return the checked tree of a condition, which may be nothing else."""
        tree = self._parse(f"SELECT 1 WHERE (\n{text}\n)")
        selects = tree.get("list_of_selects", {}).get("children", [])
        select = selects[0] if len(selects) == 1 else {}
        if (
            select.keys() != {"type", "select", "where"}
            or tree.keys() - SHAPES[tree["type"]].keys()
        ):
            raise Problem(SYNTAX_ERROR, f"{text[:80]!r} is no condition for a filter")
        walk = _Walk(self._functions, self._tables, database, frozenset(), {})
        return walk.node(select["where"])


@dataclass(frozen=True, slots=True)
class _Walk:
    """Goes through one tree and returns it as it may run."""

    functions: Functions
    tables: Tables
    database: str
    with_names: frozenset[str]
    filters: Mapping[str, Node]

    def check_names(self) -> None:
        """A name of WITH may not be that of a table: elsewhere it would be that table."""
        for name in self.with_names:
            if name in self.tables.views or self.tables.is_hidden(name):
                said = f"WITH {name}: there is a table of that name, choose another"
                raise Problem(BAD_ARGUMENTS, said)

    def node(self, node: Any) -> Node:
        kind = node.get("type") if isinstance(node, dict) else None
        shape = SHAPES.get(kind) if isinstance(kind, str) else None
        if shape is None:
            raise Problem(NOT_IMPLEMENTED, f"{_shown(node)} is not answered here")
        self._special(node)
        made = {key: self._part(node, key, value, shape.get(key)) for key, value in node.items()}
        match kind:
            case "TableExpression":
                return self._table(made)
            case "Function" if self._called(made["name"]) in WITH_TABLE:
                return self._listed(made)
        return made

    def _part(self, node: Node, key: str, value: Any, shape: str | None) -> Any:
        if shape == PLAIN and plain(value):
            return value
        if shape == NODE:
            return self.node(value)
        if shape == NODES and isinstance(value, list):
            return [self.node(one) for one in value]
        if shape == VALUE and literal(value):
            return value
        if key in REFUSED:
            raise Problem(*REFUSED[key])
        raise Problem(NOT_IMPLEMENTED, f"{key} of {_shown(node)} is not answered here")

    def _special(self, node: Node) -> None:
        match node["type"]:
            case "Function":
                self._function(node)
            case "ColumnsApplyTransformer" if "func_name" in node:
                name = self._called(node["func_name"])
                if name in WITH_TABLE | WITH_TYPE:
                    raise Problem(ACCESS_DENIED, f"APPLY({name}) is not answered here")
            case "QueryParameter":
                types.check(str(node.get("param_type", "")))
            case "SelectWithUnionQuery" if any(node.get(flag) for flag in FILE_FLAGS):
                raise Problem(*REFUSED["out_file"])

    def _function(self, node: Node) -> None:
        name = self._called(node.get("name"))
        arguments = node.get("arguments", {}).get("children", [])
        if name in WITH_TYPE:
            _check_type(name, arguments)
        if name in SCANS and not any(_is_written(argument) for argument in arguments):
            raise Problem(BAD_ARGUMENTS, f"{name}: the array or the value is to be written out")

    def _called(self, name: Any) -> str:
        found = self.functions.known(str(name))
        if found is None:
            raise Problem(ACCESS_DENIED, f"the function {str(name)[:80]} is not called here")
        return found

    def _listed(self, made: Node) -> Node:
        """Return a call of IN, on whose right a bare name is a table: it becomes a SELECT, because
        a name alone may be an alias of the name of another table."""
        left, *rest = made.get("arguments", {}).get("children", [{}])
        right = rest[0] if rest else {}
        if right.get("type") not in ("Identifier", "TableIdentifier"):
            return made
        named = {"type": "TableIdentifier", **{k: v for k, v in right.items() if k in NAMED}}
        try:
            read = self._table({"type": "TableExpression", "database_and_table_name": named})
        except Problem as problem:
            said = (
                f"{problem.said}; on the right of IN there may be values, a SELECT, a view or a "
                "name of WITH; of an array ask has(array, value)"
            )
            raise Problem((problem.code, problem.name), said) from None
        query = {"type": "Subquery", "children": [union(_all_of(read))]}
        arguments = {**made["arguments"], "children": [left, query, *rest[1:]]}
        return {**made, "arguments": arguments}

    def _table(self, made: Node) -> Node:
        """Return what is read in place of a table."""
        named = made.get("database_and_table_name")
        if named is None:
            return made
        parts = named.get("name_parts") or [named.get("name")]
        alias = named.get("alias") or parts[-1]
        if len(parts) == 1 and parts[0] in self.with_names:
            return made
        database, name = self.tables.found(parts, self.database)
        if database == "system":
            return _in_place(made, self.tables.system[name], alias)
        if name in self.filters:
            return _in_place(made, _filtered(name, self.filters[name]), alias)
        return {**made, "database_and_table_name": _identifier(name, named.get("alias"))}


def _identifier(name: str, alias: str | None) -> Node:
    parts = [DATABASE, name]
    told: Node = {"type": "TableIdentifier", "name": ".".join(parts), "name_parts": parts}
    return told | ({"alias": alias} if alias else {})


def _in_place(made: Node, query: Node, alias: str) -> Node:
    if made.keys() - {"type", "database_and_table_name", "column_aliases"}:
        raise Problem(NOT_IMPLEMENTED, f"{alias} is read without FINAL and SAMPLE")
    rest = {k: v for k, v in made.items() if k != "database_and_table_name"}
    return rest | {"subquery": {"type": "Subquery", "alias": alias, "children": [query]}}


def union(*selects: Node) -> Node:
    """Return the node of a query that has one or more SELECTs."""
    flags = dict.fromkeys(FILE_FLAGS, False)
    listed = {"type": "ExpressionList", "children": list(selects)}
    told = {"type": "SelectWithUnionQuery", "union_mode": "UNION_DEFAULT"}
    return {**told, "list_of_selects": listed, **flags}


def _all_of(expression: Node) -> Node:
    element = {"type": "TablesInSelectQueryElement", "table_expression": expression}
    return {
        "type": "SelectQuery",
        "select": {"type": "ExpressionList", "children": [{"type": "Asterisk"}]},
        "tables": {"type": "TablesInSelectQuery", "children": [element]},
    }


def _filtered(name: str, condition: Node) -> Node:
    table = {"type": "TableExpression", "database_and_table_name": _identifier(name, None)}
    return union({**_all_of(table), "where": condition})


def _limited(tree: Node, most: int) -> Node:
    """Return a query of at most ``most`` rows, 0 is all."""
    if not most:
        return tree
    length = {"type": "Literal", "value": {"field_type": "UInt64", "value": most}}
    selects = tree["list_of_selects"]["children"]
    if len(selects) == 1 and selects[0]["type"] == "SelectQuery":
        told = selects[0].get("limit_length")
        held = told["value"] if told is not None and told["type"] == "Literal" else {}
        ties = selects[0].get("limit_with_ties")
        if told is None or (held.get("field_type") == "UInt64" and not ties):
            if told is None or held["value"] > most:
                selects = [{**selects[0], "limit_length": length}]
            return union(*selects)
    whole = {"type": "TableExpression", "subquery": {"type": "Subquery", "children": [tree]}}
    return union({**_all_of(whole), "limit_length": length})


def _without_settings(tree: Node) -> tuple[Node, list[tuple[str, Any]]]:
    """Return the tree without the settings at its end, and those."""
    told = list(_changes(tree.get("settings_ast")))
    rest = {key: value for key, value in tree.items() if key != "settings_ast"}
    listed = tree.get("list_of_selects", {})
    selects = listed.get("children", [])
    if selects and "settings" in selects[-1]:
        told += _changes(selects[-1]["settings"])
        last = {key: value for key, value in selects[-1].items() if key != "settings"}
        rest["list_of_selects"] = {**listed, "children": [*selects[:-1], last]}
    return rest, told


def _changes(told: Node | None) -> Iterator[tuple[str, Any]]:
    if told is None:
        return
    if told.get("type") != "SetQuery" or told.keys() - {"type", "changes"}:
        raise Problem(READONLY, "SETTINGS may only be given values")
    for change in told.get("changes", []):
        if change.keys() != {"name", "value"} or not literal(change["value"]):
            raise Problem(READONLY, "SETTINGS may only be given values")
        yield str(change["name"]), _value(change["value"])


def _value(field: Node) -> Any:
    held = field["value"]
    if field["field_type"] == "Map":
        pairs = ([_value(one) for one in pair["value"]] for pair in held)
        return {str(pair[0]): pair[1] for pair in pairs if len(pair) == 2}
    return held


def _without_format(tree: Node) -> tuple[Node, str]:
    told = tree.get("format_ast")
    if told is None:
        return tree, ""
    rest = {key: value for key, value in tree.items() if key != "format_ast"}
    return rest, str(told.get("name", ""))


def _with_names(tree: Node) -> frozenset[str]:
    return frozenset(
        str(node.get("name")) for node in within(tree) if node.get("type") == "WithElement"
    )


def _check_cost(tree: Node) -> None:
    called, in_lambdas = _functions(tree), 0
    for node in within(tree):
        if node.get("type") == "Function" and node.get("name") == "lambda":
            in_lambdas += _functions(node) - 2  # itself, and the tuple of its arguments
    if called > MOST_FUNCTIONS or in_lambdas > MOST_IN_LAMBDAS:
        said = f"a query may call {MOST_FUNCTIONS} functions, {MOST_IN_LAMBDAS} of them in lambdas"
        raise Problem(TOO_BIG, said)


def _functions(tree: Node) -> int:
    return sum(node.get("type") == "Function" for node in within(tree))


def _check_type(name: str, arguments: list[Node]) -> None:
    at = -1 if name in TYPE_LAST else 1
    told = arguments[at] if len(arguments) > 1 else {}
    value = told.get("value", {}) if told.get("type") == "Literal" else {}
    if value.get("field_type") != "String":
        raise Problem(ACCESS_DENIED, f"{name} takes a type that is written out")
    types.check(str(value.get("value")))


def _is_written(node: Node) -> bool:
    """Return whether a value stands in the text or beside it, and is not made."""
    if node.get("type") != "Function":
        return node.get("type") in ("Literal", "QueryParameter")
    parts = node.get("arguments", {}).get("children", [])
    return node.get("name") in ("array", "tuple", "CAST") and all(map(_is_written, parts))


def _parts(name: str) -> list[str]:
    return [part.strip('"`') for part in name.split(".")]


def _shown(node: Any) -> str:
    kind = str(node.get("type")) if isinstance(node, dict) else "this"
    return kind.removesuffix("Query").upper() if kind.endswith("Query") else kind
