"""Pages: each row once and in order, whatever the limit; a token that is none is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.api import pages
from wattshed_collector.errors import InvalidInput

ROWS = st.lists(
    st.tuples(st.booleans(), st.floats(-2, 2, allow_nan=False), st.text(max_size=3)),
    unique=True,
    max_size=12,
)
ASKED = pages.digest(["q"])


def turned(rows: list[pages.Key], most: int) -> list[pages.Key]:
    """Follow the tokens of a question to the end."""
    found: list[pages.Key] = []
    after: list[Any] = []
    while True:
        page, last = pages.cut(rows, lambda row: row, most, after)
        found += page
        if last is None:
            return found
        assert len(page) == most
        after = pages.read(pages.token(ASKED, last), ASKED)


@given(ROWS, st.integers(1, 13))
def test_pages_give_each_row_once_and_in_order(rows: list[pages.Key], most: int) -> None:
    assert turned(rows, most) == sorted(rows)
    assert pages.cut(rows, lambda row: row, 0) == (sorted(rows), None)


@given(ROWS, st.integers(1, 13))
def test_a_row_that_goes_shifts_no_page(rows: list[pages.Key], most: int) -> None:
    page, last = pages.cut(rows, lambda row: row, most)
    if last is not None:
        left = [row for row in rows if row != last]
        rest = pages.cut(left, lambda row: row, 0, last)[0]
        assert page + rest == sorted(rows)


@given(st.lists(st.integers() | st.text() | st.booleans() | st.floats(allow_nan=False)))
def test_a_token_holds_what_it_was_given(key: list[Any]) -> None:
    try:
        json.dumps(key, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # no text of a store
        return
    assert pages.read(pages.token(ASKED, key), ASKED) == key


@pytest.mark.parametrize("key", [[True], [True, 1.0, 5], [1, 1.0, "a"], [True, 1, "a"]])
def test_a_key_of_another_kind_is_refused(key: list[Any]) -> None:
    with pytest.raises(InvalidInput, match="not what a page said"):
        pages.cut([(True, 1.0, "a")], lambda row: row, 1, key)


@pytest.mark.parametrize("said", ["garbage", "W10=", "bm9uZQ==", "eyJhIjogMX0=", "MQ==", "é"])
def test_what_is_no_token_is_refused(said: str) -> None:
    with pytest.raises(InvalidInput, match="after="):
        pages.read(said, ASKED)


@pytest.mark.parametrize("key", [[], [1], [2, 1, "a"], [-1, 5, "a"], [1.0, 2, "a"], [1, 2**40]])
def test_a_window_in_a_token_has_a_begin_before_its_end(key: list[Any]) -> None:
    with pytest.raises(InvalidInput, match="not what a page said"):
        pages.read_window(pages.token(ASKED, key), ASKED)
    assert pages.read_window(pages.token(ASKED, [1, 2, "a"]), ASKED) == (1, 2, ["a"])


def test_a_token_with_half_a_character_is_refused() -> None:
    said = base64.urlsafe_b64encode(json.dumps([ASKED, "\ud800"]).encode()).decode()
    with pytest.raises(InvalidInput, match="not what a page said"):
        pages.read(said, ASKED)
