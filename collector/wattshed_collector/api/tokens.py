"""What a page says as ``next``: where the following one begins, and of which question it is."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from wattshed_collector.errors import InvalidInput

NO_TOKEN = "after= is not what a page said as next"


def digest(question: object) -> str:
    """Return what tells questions apart."""
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:16]


def token(question: str, values: Sequence[Any]) -> str:
    """Return a text that says from where to go on with a question of that digest."""
    said = json.dumps([question, *values], ensure_ascii=False)
    return base64.urlsafe_b64encode(said.encode()).decode()


def read(said: str, question: str) -> list[Any]:
    """Return the values of a token. Raises InvalidInput where it is none, or another question's."""
    values: list[Any]
    try:
        asked, *values = json.loads(base64.b64decode(said, altchars=b"-_", validate=True))
        json.dumps(values, ensure_ascii=False).encode()  # half a character cannot be asked for
    except (ValueError, TypeError, RecursionError):
        raise InvalidInput(NO_TOKEN, "after") from None
    if asked != question:
        raise InvalidInput("after= belongs to another question: ask what its page asked", "after")
    return values


def rows_of_page(told: str, most: int) -> int:
    """Return how many rows a page may have. Raises InvalidInput."""
    is_whole = told.isascii() and told.isdecimal() and len(told) <= len(str(most))
    if not is_whole or not 0 < int(told) <= most:
        raise InvalidInput(f"limit={told!r}: choose a whole number from 1 to {most}", "limit")
    return int(told)
