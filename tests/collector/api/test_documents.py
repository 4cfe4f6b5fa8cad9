"""JSON as the API reads and writes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wattshed_collector.api.documents import answered, read_json, read_object
from wattshed_collector.errors import InvalidInput


@pytest.mark.parametrize("document", [{"a": [1, None, "é"]}, [], "text", 0.1])
def test_an_answer_is_read_as_it_was_written(document: Any) -> None:
    answer = answered(document, 201)
    assert answer.status == 201
    assert answer.content_type == "application/json"
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == read_json(answer.body) == document


def test_an_answer_has_no_number_that_json_has_not() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        answered({"a": float("nan")})


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match="the body is not JSON") as caught:
        read_json(raw)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("raw", [rb'{"a": "\ud83d"}', rb'["\uDE00x"]', rb'{"\ud800": 1}'])
def test_half_of_a_character_is_none(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match="the body holds half of a character"):
        read_json(raw)


def test_a_character_in_two_halves_is_whole() -> None:
    assert read_json(rb'"\ud83d\ude00"') == "\U0001f600"


@pytest.mark.parametrize("raw", [b"[]", b"1", b'"a"', b"null"])
def test_a_body_that_is_no_object_is_told_what_one_has(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a JSON object with id and state"):
        read_object(raw, "id and state")


def test_an_object_is_returned() -> None:
    assert read_object(b'{"id": 1}', "id") == {"id": 1}
