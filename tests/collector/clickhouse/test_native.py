"""Bytes as clickhouse-go reads them: the hello, the engine's own, and none."""

from __future__ import annotations

from tests.collector.clickhouse.asking import Ask
from tests.collector.clickhouse.go_client import HELLO, PROTOCOL, blocks

from wattshed_collector.clickhouse import native

EVERY_TYPE = """
SELECT toDateTime('2026-01-02 03:04:05', 'UTC') AS t, 1.5 AS f, toUInt64(2) AS u, 'a' AS s,
    toLowCardinality('b') AS l, [1, 2] AS a, map('k', 'v') AS m, NULL::Nullable(Float64) AS n,
    toDateTime64('2026-01-02 03:04:05.678', 3, 'UTC') AS d, true AS b, (1, 'x') AS p,
    ['q']::Array(LowCardinality(String)) AS al
"""


def test_the_hello_is_read_at_the_protocol_and_names_revision_0(ask: Ask) -> None:
    answer = ask(HELLO, "Native", client_protocol_version=str(PROTOCOL))
    (block,) = blocks(answer.body, PROTOCOL)
    assert block.names == list(native.HELLO)
    assert block.types == ["String", "String", "UInt32", "String"]
    (name,), (version,), (revision,), (zone,) = block.columns
    assert (name, revision, zone) == ("wattshed", 0, "UTC")
    assert version.count(".") >= 2


def test_a_client_that_names_no_protocol_gets_a_bare_hello(ask: Ask) -> None:
    (block,) = blocks(ask(f" {HELLO.lower()};", "Native").body, 0)
    assert block.columns[0] == ["wattshed"]


def test_the_hello_in_another_format_is_a_row(ask: Ask) -> None:
    assert ask(HELLO).body.startswith(b'["wattshed", "')


def test_the_engines_blocks_are_read_at_revision_0(ask: Ask) -> None:
    (block,) = blocks(ask(EVERY_TYPE, "Native", client_protocol_version=str(PROTOCOL)).body, 0)
    assert {name: values[0] for name, values in zip(block.names, block.columns, strict=True)} == {
        "t": 1767323045, "f": 1.5, "u": 2, "s": "a", "l": "b", "a": [1, 2], "m": {"k": "v"},
        "n": None, "d": 1767323045678, "b": True, "p": (1, "x"), "al": ["q"],
    }  # fmt: skip


def test_no_rows_are_a_block_with_names_and_types(ask: Ask) -> None:
    (block,) = blocks(ask("SELECT t, joules, team FROM v_energy_1m", "Native").body, 0)
    assert block.rows == 0
    assert block.names == ["t", "joules", "team"]
    assert block.types == ["DateTime('UTC')", "Float64", "LowCardinality(String)"]


def test_no_rows_of_a_query_with_parameters(ask: Ask) -> None:
    sql = "SELECT {n:UInt8} AS n, site FROM v_workload_1h WHERE site = {t:String}"
    (block,) = blocks(ask(sql, "Native", param_n="3", param_t="x").body, 0)
    assert (block.names, block.rows) == (["n", "site"], 0)


def test_a_number_of_more_than_seven_bits() -> None:
    assert native.varint(300) == b"\xac\x02"
    assert native.text("é") == b"\x02\xc3\xa9"
