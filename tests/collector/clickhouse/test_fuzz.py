"""Whatever is put together of safe and dangerous pieces: what passes touches nothing else.

What the guard lets through is looked at by another way, the engine's EXPLAIN AST of the text that
runs, and then is run on a store in which a file and a table hold a secret.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tests.collector.clickhouse.asking import SECRET

from wattshed_collector.clickhouse.asked import question
from wattshed_collector.clickhouse.engine import Engine
from wattshed_collector.clickhouse.errors import Problem
from wattshed_collector.clickhouse.names import AGGREGATES, SCALARS

OURS = re.compile(r"(default\.)?v_\w+|system\.(one|tables|databases|columns|functions|settings)|w")
NAMES = st.sampled_from(
    [
        "a", "a", "1", "node", "v_live.node", "hidden", "secret", "v_live", "`hidden`", '"tick"',
        "default.hidden", "w", "t.a", "hidden.secret", "number", "*", "hidden.*",
    ]
)  # fmt: skip
CALLS = st.sampled_from(
    [
        "concat", "toString", "if", "array", "file", "FILE", "`file`", "sum", "sumIf", "concat",
        "length", "in", "notIn", "arrayMap", "if", "getSetting", "joinGet", "arrayReduce",
        "sumState", "toString", "CAST", "exists", "range", "dictGet", "currentUser", "arrayJoin",
        "untuple", "any", "hasColumnInTable", "version",
    ]
)  # fmt: skip
SOURCES = [
    "v_live",
    "v_device",
    "hidden",
    "default.hidden",
    "system.one",
    "system.tables AS t",
    "system.parts",
    "numbers(2)",
    "file('{file}')",
    "w",
    "w AS hidden",
    "merge('', '.*')",
    "view(SELECT * FROM hidden)",
    "{t:Identifier}",
    "VALUES (1)",
    "hidden FINAL",
]
VALUES = st.sampled_from(
    [
        "1", "2", "'x'", "'y'", "'{file}'", "'hidden'", "[1]", "('a', 'b')", "NULL", "'readonly'",
        "{f:String}", "{t:Identifier}", "x -> file(x)", "x -> x",
        "'AggregateFunction(sum, UInt8)'",
    ]
)  # fmt: skip
ENDS = st.sampled_from(
    [
        "", "", "", ";", "; SELECT secret FROM hidden", " INTO OUTFILE '{file}.out'",
        " FORMAT TSV", " SETTINGS limit = 1", " SETTINGS readonly = 0",
        ") UNION SELECT (secret) FROM hidden", " --",
        " SETTINGS additional_table_filters = {'v_live': '1 IN hidden'}", "/* */", "\n\\G",
        " LIMIT 1", " EXCEPT SELECT 1", " /*", "'", " UNION ALL SELECT secret FROM hidden",
    ]
)  # fmt: skip


def _expressions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    safe = st.sampled_from(["[{}]", "({})", "concat({})", "toString({})", "array({})", "any({})"])
    kept = st.builds(str.format, safe, inner)
    call = st.builds("{}({})".format, CALLS, st.lists(inner, max_size=3).map(", ".join))
    isin = st.builds("{} IN {}".format, inner, st.one_of(inner, NAMES, NAMES.map("({})".format)))
    select = st.builds("(SELECT {} FROM {})".format, inner, st.sampled_from(SOURCES))
    star = CALLS.map("* APPLY({})".format)
    return st.one_of(kept, kept, call, isin, select, star, st.builds("{} AS hidden".format, inner))


EXPRESSIONS = st.recursive(st.one_of(NAMES, VALUES), _expressions, max_leaves=6)


@st.composite
def statements(draw: st.DrawFn) -> str:
    """A statement, mostly a SELECT, that may do what it should not."""
    named = draw(st.sampled_from(["w"] * 8 + ["hidden", "tick"]))
    with_it = f"WITH {named} AS (SELECT 1 AS a) "
    first = draw(st.sampled_from(["", with_it, with_it, with_it, "EXPLAIN ", "/* */ "]))
    safe = "(SELECT 1 AS a, 'x' AS node)"
    source = draw(st.one_of(st.sampled_from(["", safe, "v_live", "w"]), st.sampled_from(SOURCES)))
    told = f"{first}SELECT {draw(EXPRESSIONS)}" + (f" FROM {source}" if source else "")
    if draw(st.booleans()):
        told += f" WHERE {draw(EXPRESSIONS)}"
    end: str = draw(st.one_of(*[st.just("")] * 4, ENDS))
    return told + end


@pytest.fixture(scope="module")
def ran(engine: Engine, secret: Path) -> Any:
    """Gives what the guard has the engine run, and the bytes of its answer; None: refused."""

    def run(sql: str) -> tuple[str, bytes] | None:
        query = [("query", sql.replace("{file}", str(secret))), ("param_f", str(secret)),
                 ("param_t", "hidden"), ("default_format", "TSVRaw")]  # fmt: skip
        told, text = question(query, {}, b""), ""
        try:
            text = engine.text(told)
            return text, engine.answer(told, "fuzz").body
        except Problem as problem:
            event(problem.name)
            return (text, problem.said.encode()) if text else None

    return run


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(statements())
def test_what_passes_touches_nothing_else(
    shared_bed: Any, ran: Any, secret: Path, sql: str
) -> None:
    found = ran(sql)
    event("refused" if found is None else "passed")
    if found is None:
        return
    text, body = found
    assert SECRET.encode() not in body
    assert not secret.with_name("token.out").exists()
    for (line,) in shared_bed.client.rows(f"EXPLAIN AST {text}", {"f": "x"}):
        kind, _, name = line.strip().partition(" ")
        bare = name.split(" (")[0]
        assert kind not in ("TableFunction", "Set", "InsertQuery"), text
        if kind == "TableIdentifier":
            assert OURS.fullmatch(bare), text
        if kind == "Function":
            assert bare in SCALARS | AGGREGATES or bare.removesuffix("If") in AGGREGATES, text
