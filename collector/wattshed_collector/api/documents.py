"""JSON as the API reads and writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from wattshed_collector.errors import InvalidInput

Unpacked = Callable[[web.Request, int], Awaitable[bytes]]
"""Returns the body of a request, at most so many bytes of it."""
HALVES = re.compile(rb"\\u[dD][89a-fA-F]")
TRUTHS = {"true": True, "false": False, "1": True, "0": False}
"""How a parameter says yes or no."""


def answered(document: Any, status: int = 200) -> web.Response:
    """Return ``document`` as an answer. Raises ValueError for a number that JSON has not."""
    text = json.dumps(document, allow_nan=False)
    return web.Response(text=text, status=status, content_type="application/json")


def flag_of(query: Mapping[str, str], name: str) -> bool:
    """Return whether a parameter says yes; not said is no. Raises InvalidInput."""
    told = query.get(name, "false")
    if told not in TRUTHS:
        raise InvalidInput(f"{name}={told!r}: choose one of {', '.join(TRUTHS)}", name)
    return TRUTHS[told]


def read_json(raw: bytes) -> Any:
    """Return what a body says. Raises InvalidInput where it is not JSON, or none of Unicode."""
    try:
        said = json.loads(raw)
        if HALVES.search(raw):  # only an escape can be half of a character
            json.dumps(said, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidInput("the body holds half of a character", "malformed") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}", "malformed") from error
    return said


def read_object(raw: bytes, fields: str) -> dict[str, Any]:
    """Return what a body says; ``fields`` names what an object is written with, for the error.

    Raises InvalidInput where it is no JSON object.
    """
    said = read_json(raw)
    if not isinstance(said, dict):
        raise InvalidInput(f"the body is not a JSON object with {fields}", "malformed")
    return said
