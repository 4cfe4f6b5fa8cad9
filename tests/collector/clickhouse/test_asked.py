"""Where a request's query, parameters and settings stand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from multidict import CIMultiDict

from wattshed_collector.clickhouse import catalogue
from wattshed_collector.clickhouse.asked import LONGEST_SQL, Question, escaped, question
from wattshed_collector.clickhouse.errors import Problem, of_engine
from wattshed_collector.clickhouse.shown import authorization
from wattshed_collector.clickhouse.wishes import Wish

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT {a:String}\r\n'
    b'--b\r\nContent-Disposition: form-data; name="param_a"\r\n\r\n\xc3\xa9\\n\r\n--b--\r\n'
)


def asked(body: bytes = b"", headers: Mapping[str, str] | None = None, **told: str) -> Question:
    return question(told.items(), CIMultiDict(headers or {}), body)


def test_the_query_is_in_the_url_the_body_or_both() -> None:
    assert asked(query="SELECT 1").sql == "SELECT 1"
    assert asked(b"SELECT 2").sql == "SELECT 2"
    assert asked(b"FROM t", query="SELECT 3").sql == "SELECT 3\nFROM t"


def test_what_a_data_source_sends() -> None:
    found = asked(
        b"SELECT 1",
        {"X-ClickHouse-Database": "other"},
        default_format="Native",
        client_protocol_version="54460",
        max_execution_time="65",
        database="default",
        param_a="x",
        query_id="a-1",
        limit="10",
    )
    wish = Wish(65.0, 10, {})
    assert found == Question("SELECT 1", {"a": "x"}, wish, "default", "Native", 54460, "a-1")


def test_a_header_names_the_format() -> None:
    assert asked(b"SELECT 1", {"x-clickhouse-format": "jsoneachrow"}).format == "JSONEachRow"


def test_a_form_has_long_parameters() -> None:
    found = asked(FORM, {"Content-Type": "multipart/form-data; boundary=b"})
    assert (found.sql, found.parameters) == ("SELECT {a:String}", {"a": "é\\n"})


@pytest.mark.parametrize(
    ("body", "told", "code"),
    [
        (b"", {}, 62),
        (b"SELECT '\xff'", {}, 36),
        (b"SELECT 1", {"default_format": "Template"}, 73),
        (b"SELECT 1", {"default_format": "Protobuf"}, 73),
        (b"SELECT 1", {"output_format_json_quote_64bit_integers": "0"}, 164),
        (b"SELECT 1", {"allow_ddl": "1"}, 164),
        (b"SELECT 1", {"compress": "1"}, 48),
        (b"SELECT 1", {"max_execution_time": "-1"}, 36),
        (b"SELECT 1", {"limit": "inf"}, 36),
        (b"SELECT 1", {"param_a b": "x"}, 36),
        (b"SELECT 1", {"additional_table_filters": "{}"}, 36),
        (b"S" * (LONGEST_SQL + 1), {}, 168),
    ],
)
def test_refused(body: bytes, told: dict[str, str], code: int) -> None:
    with pytest.raises(Problem) as error:
        question(told.items(), {}, body)
    assert error.value.code == code


def test_external_tables_are_not_taken() -> None:
    body = FORM.replace(b"param_a", b"ext")
    with pytest.raises(Problem, match="external"):
        asked(body, {"Content-Type": "multipart/form-data; boundary=b"})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", FORM),
        ("multipart/form-data; boundary=other", FORM),
        ("multipart/form-data; boundary=b", FORM[:-6]),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"\r\n--b" * 1000),
        ("multipart/form-data; boundary=b", b"--b\r\n" * 100_000),
        ("multipart/form-data; boundary=b", FORM.replace(b'"query"', b'"query"; filename="x"')),
    ],
)
def test_forms_that_are_none(kind: str, body: bytes) -> None:
    with pytest.raises(Problem) as error:
        asked(body, {"Content-Type": kind})
    assert error.value.code in (36, 48)


def test_texts_are_escaped_as_the_engine_reads_them() -> None:
    assert escaped("a\tb\n\\c\0'") == "a\\tb\\n\\\\c\\0'"


def test_what_the_engine_says_tells_nothing_of_the_machine() -> None:
    said = (
        "Code: 76. DB::Exception: Code: 76. DB::Exception: Cannot open /var/lib/x/data.bin: no. "
        "(version 26.9.2.1 (official build)). (CANNOT_OPEN_FILE)"
    )
    assert of_engine(said).text() == (
        "Code: 76. DB::Exception: Cannot open (file): no. (CANNOT_OPEN_FILE)\n"
    )
    assert of_engine("Segmentation /var/x").text().startswith("Code: 49.")


def test_long_texts_are_gone_through_once() -> None:
    spaces = " " * 200_000
    assert catalogue.shown(f"SELECT 1{spaces}x", "") is None
    assert catalogue.shown(f"SHOW DATABASES{spaces}x", "") is None
    said = of_engine(f"Code: 6. DB::Exception: Cannot parse '{spaces}'. (CANNOT_PARSE_TEXT)")
    assert (said.code, said.name, len(said.said) < 10_000) == (6, "CANNOT_PARSE_TEXT", True)


@pytest.mark.parametrize(
    ("headers", "query", "shown"),
    [
        ({}, {}, ""),
        ({"Authorization": "Bearer abc"}, {}, "Bearer abc"),
        ({"Authorization": "Basic Z3JhZmFuYTp0b2tlbg=="}, {}, "Bearer token"),
        ({"Authorization": "Basic Z3JhZmFuYTo="}, {}, ""),
        ({"Authorization": "Basic YWRhOnB3"}, {}, "Basic YWRhOnB3"),
        ({"Authorization": "Basic %%%"}, {}, "Basic %%%"),
        ({"X-ClickHouse-User": "x", "X-ClickHouse-Key": "token"}, {}, "Bearer token"),
        ({"X-ClickHouse-User": "ada", "X-ClickHouse-Key": "pw"}, {}, "Basic YWRhOnB3"),
        ({}, {"user": "x", "password": "token"}, "Bearer token"),
        ({}, {"user": "ada", "password": "pw"}, "Basic YWRhOnB3"),
        ({"Authorization": "Bearer no"}, {"password": "token"}, "Bearer no"),
    ],
)
def test_who_asks(headers: dict[str, str], query: dict[str, str], shown: str) -> None:
    assert authorization(CIMultiDict(headers), query, "token".__eq__) == shown
