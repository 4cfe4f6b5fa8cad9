"""The syntax tree of a SELECT: which nodes there may be, and what may stand in each.

The tree is what ``parseQueryToJSON`` of the engine makes. Whatever is not named here is refused,
so that a new piece of grammar stays closed: INTO OUTFILE, table functions, STREAM, recursion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Node = dict[str, Any]

PLAIN, NODE, NODES, VALUE = "plain", "node", "nodes", "value"
"""A number, name or flag (or a list of them); one node; a list of nodes; a literal's value."""


def _of(nodes: str = "", plain: str = "", lists: str = "") -> dict[str, str]:
    told = dict.fromkeys(nodes.split(), NODE) | dict.fromkeys(plain.split(), PLAIN)
    return {"type": PLAIN, **told, **dict.fromkeys(lists.split(), NODES)}


FILE_FLAGS = "is_outfile_append", "is_outfile_truncate", "is_into_outfile_with_stdout"
SHAPES: Mapping[str, Mapping[str, str]] = {
    "SelectWithUnionQuery": _of(
        "list_of_selects", "union_mode list_of_modes " + " ".join(FILE_FLAGS)
    ),
    "SelectQuery": _of(
        "with select tables prewhere where group_by having window qualify order_by interpolate "
        "limit_by limit_by_length limit_by_offset limit_length limit_offset cte_aliases",
        "distinct group_by_all group_by_with_totals group_by_with_rollup group_by_with_cube "
        "group_by_with_grouping_sets order_by_all limit_with_ties limit_by_all",
    ),
    "ExpressionList": _of(lists="children"),
    "WithElement": _of("subquery aliases", "name is_materialized"),
    "Subquery": _of(plain="alias", lists="children"),
    "TablesInSelectQuery": _of(lists="children"),
    "TablesInSelectQueryElement": _of("table_expression table_join array_join"),
    "TableExpression": _of(
        "database_and_table_name subquery sample_size sample_offset column_aliases", "final"
    ),
    "TableIdentifier": _of(plain="name name_parts alias"),
    "TableJoin": _of("using_expression_list on_expression", "kind strictness locality"),
    "ArrayJoin": _of("expression_list", "kind"),
    "SampleRatio": _of(plain="numerator denominator"),
    "Identifier": _of(plain="name name_parts alias"),
    "Literal": {"type": PLAIN, "value": VALUE, "alias": PLAIN},
    "QueryParameter": _of(plain="name param_type alias"),
    "Function": _of(
        "arguments parameters window_definition",
        "name alias is_operator is_window_function is_lambda_function kind window_name "
        "nulls_action",
    ),
    "WindowDefinition": _of(
        "partition_by order_by frame_begin_offset frame_end_offset",
        "parent_window_name frame_is_default frame_type frame_begin_type frame_begin_preceding "
        "frame_end_type frame_end_preceding",
    ),
    "WindowListElement": _of("definition", "name"),
    "OrderByElement": _of(
        "expression collation fill_from fill_to fill_step fill_staleness",
        "direction nulls_direction nulls_direction_was_explicitly_specified with_fill",
    ),
    "InterpolateElement": _of("expr", "column"),
    "Asterisk": _of("transformers expression"),
    "QualifiedAsterisk": _of("qualifier transformers"),
    "ColumnsRegexpMatcher": _of("transformers expression", "pattern"),
    "QualifiedColumnsRegexpMatcher": _of("qualifier transformers", "pattern"),
    "ColumnsListMatcher": _of("column_list transformers expression"),
    "QualifiedColumnsListMatcher": _of("qualifier column_list transformers"),
    "ColumnsTransformerList": _of(lists="children"),
    "ColumnsExceptTransformer": _of(plain="pattern is_strict", lists="children"),
    "ColumnsReplaceTransformer": _of(plain="is_strict", lists="children"),
    "ColumnsReplaceTransformerReplacement": _of(plain="name", lists="children"),
    "ColumnsApplyTransformer": _of(
        "parameters lambda", "func_name lambda_arg column_name_prefix"
    ),
}  # fmt: skip
FIELDS = frozenset(
    {"Null", "Bool", "String", "Array", "Tuple", "Map", "Float64", "UUID", "IPv4", "IPv6"}
    | {f"{sign}Int{bits}" for sign in ("", "U") for bits in (64, 128, 256)}
    | {f"Decimal{bits}" for bits in (32, 64, 128, 256)}
)
COSMETIC = frozenset({"is_operator"})
"""What tells how something was written, and nothing of what it means."""


def plain(value: Any) -> bool:
    """Return whether a value is a number, a text, a flag, or a list of them."""
    if isinstance(value, list):
        return all(not isinstance(one, list | dict) for one in value)
    return not isinstance(value, dict)


def literal(value: Any) -> bool:
    """Return whether a value is that of a literal, whose fields are all known."""
    if not isinstance(value, dict) or value.keys() - {"field_type", "value", "scale"}:
        return False
    held = value.get("value")
    if value.get("field_type") not in FIELDS:
        return False
    if isinstance(held, list):
        return all(literal(one) for one in held)
    return not isinstance(held, dict)


def within(tree: Any) -> Iterator[Node]:
    """Return every node of a tree, without recursion."""
    left = [tree]
    while left:
        at = left.pop()
        if isinstance(at, dict):
            yield at
            left.extend(at.values())
        elif isinstance(at, list):
            left.extend(at)


def meaning(tree: Any) -> Any:
    """Return a tree without what is only about how it was written."""
    if isinstance(tree, dict):
        return {key: meaning(value) for key, value in tree.items() if key not in COSMETIC}
    return [meaning(one) for one in tree] if isinstance(tree, list) else tree
