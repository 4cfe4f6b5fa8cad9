"""Pages of an answer: how many rows, and a token that says where the next page begins.

A token names the question that it belongs to and the last row's key, so that rows that come or go
meanwhile shift no page. Where a question is about a window the token holds that as well: "the last
24 hours" of the first page are those of all of them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from wattshed_collector.errors import InvalidInput
from wattshed_collector.instant import LATEST_S
from wattshed_collector.openapi import Parameter, Schema, maybe, text

if TYPE_CHECKING:
    from aiohttp import web

Row = TypeVar("Row")
Key = tuple[Any, ...]
"""Texts, numbers and truths, as many and of the same types in each row of an answer."""

FORMATS = ("json", "csv")
DEFAULT_ROWS, MOST_ROWS = 1000, 10_000
NO_TOKEN = "after= is not what a page said as next"

LIMIT = Parameter(
    "limit",
    "Rows of a page",
    {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": DEFAULT_ROWS},
)
AFTER = Parameter("after", "What the page before said as next; the window is that of its page")
FORMAT = Parameter(
    "format",
    "JSON, or CSV with a header, whose Link header names the next page",
    text("", *FORMATS),
)
NEXT: Schema = maybe(text("What after= is for the next page; null: no more"))


def limit(told: str, most: int = MOST_ROWS) -> int:
    """Return how many rows a page has. Raises InvalidInput with what may be asked."""
    is_whole = told.isascii() and told.isdecimal() and len(told) <= len(str(most))
    if not is_whole or not 0 < int(told) <= most:
        raise InvalidInput(f"limit={told!r}: choose a whole number from 1 to {most}", "limit")
    return int(told)


def form(told: str) -> str:
    """Return the format that is asked for. Raises InvalidInput."""
    if told not in FORMATS:
        raise InvalidInput(f"format={told!r}: choose one of {', '.join(FORMATS)}", "format")
    return told


def once(said: Iterable[tuple[str, str]], repeated: Iterable[str] = ()) -> dict[str, str]:
    """Return parameters by name. Raises InvalidInput where one not ``repeated`` is said twice."""
    told: dict[str, str] = {}
    for name, value in said:
        if name in told and name not in repeated:
            raise InvalidInput(f"{name}= is said twice", name)
        told[name] = value
    return told


def digest(question: object) -> str:
    """Return what tells a question (JSON) apart from others."""
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:16]


def token(asked: str, key: Iterable[Any]) -> str:
    """Return the token of the question with digest ``asked`` after the row of ``key``."""
    said = json.dumps([asked, *key], ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(said).decode()


def read(told: str, asked: str) -> list[Any]:
    """Return the key in a token. Raises InvalidInput where it is none of this question's."""
    key: list[Any]
    try:
        of, *key = json.loads(base64.b64decode(told, altchars=b"-_", validate=True))
        json.dumps(key, ensure_ascii=False).encode()  # half a character cannot be asked for
    except (ValueError, TypeError, RecursionError):
        raise InvalidInput(NO_TOKEN, "after") from None
    if of != asked:
        raise InvalidInput("after= belongs to another question: ask what its page asked", "after")
    return key


def read_window(told: str, asked: str) -> tuple[int, int, list[Any]]:
    """Return window (Unix seconds) and key in a token that holds both. Raises InvalidInput."""
    said = read(told, asked)
    if len(said) < 2 or not all(type(second) is int for second in said[:2]):
        raise InvalidInput(NO_TOKEN, "after")
    start, end, *key = said
    if not 0 <= start < end <= LATEST_S:
        raise InvalidInput(NO_TOKEN, "after")
    return start, end, key


def cut(
    rows: Iterable[Row], order: Callable[[Row], Key], most: int, after: Sequence[Any] = ()
) -> tuple[list[Row], Key | None]:
    """Return in ``order`` at most ``most`` rows (0: all) after the key ``after``, and the key of
    the last of them where more follow. Raises InvalidInput where no row has such a key."""
    ordered = sorted(((order(row), row) for row in rows), key=lambda pair: pair[0])
    if ordered and after:
        if [type(part) for part in after] != [type(part) for part in ordered[0][0]]:
            raise InvalidInput(NO_TOKEN, "after")
        ordered = [pair for pair in ordered if pair[0] > tuple(after)]
    page = ordered[:most] if most else ordered
    return [row for _, row in page], page[-1][0] if len(page) < len(ordered) else None


def linked(answer: web.Response, request: web.Request, following: str | None) -> web.Response:
    """Name the next page in a header (RFC 8288), where there is one."""
    if following is not None:
        url = request.rel_url.update_query(after=following)
        answer.headers["Link"] = f'<{url}>; rel="next"'
    return answer
