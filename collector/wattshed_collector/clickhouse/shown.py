"""Who asks, by the ways in which ClickHouse's clients say it, and refusals in ClickHouse's words.

A client has a user and a password. The password is a token, and the user then is of no matter; or
both are those of a user in the security file. A Bearer token is taken as anywhere.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping

from .errors import ACCESS_DENIED, AUTHENTICATION_FAILED, BAD_ARGUMENTS, TOO_MANY_QUERIES, Problem

PATH = "/clickhouse"
KINDS = {401: AUTHENTICATION_FAILED, 403: ACCESS_DENIED, 429: TOO_MANY_QUERIES}
KINDS[503] = TOO_MANY_QUERIES


def is_ours(path: str) -> bool:
    """Return whether a path is that of this interface."""
    return path == PATH or path.startswith(f"{PATH}/")


def authorization(
    headers: Mapping[str, str], query: Mapping[str, str], is_token: Callable[[str], bool]
) -> str:
    """Return the header by which the gate knows who asks, "" where nobody says who they are."""
    told = headers.get("Authorization", "")
    pair = _basic(told)
    if pair is not None:
        user, password = pair
    elif told:
        return told
    elif "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        user = headers.get("X-ClickHouse-User", "")
        password = headers.get("X-ClickHouse-Key", "")
    else:
        user, password = query.get("user", ""), query.get("password", "")
    if not password:
        return ""
    if is_token(password):
        return f"Bearer {password}"
    shown = f"{user}:{password}".encode(errors="replace")
    return f"Basic {base64.b64encode(shown).decode()}"


def refusal(status: int, said: str) -> tuple[str, dict[str, str]]:
    """Return text and headers of a refusal before anything was asked of the engine."""
    problem = Problem(KINDS.get(status, BAD_ARGUMENTS), said, status)
    return problem.text(), {"X-ClickHouse-Exception-Code": str(problem.code)}


def _basic(told: str) -> tuple[str, str] | None:
    """Return user and password of a header, None where it is none of Basic that can be read."""
    scheme, _, shown = told.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(shown.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return user, password
