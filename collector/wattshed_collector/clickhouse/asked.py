"""One request of ClickHouse's HTTP interface: where its query, parameters and settings stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from . import formats
from .errors import BAD_ARGUMENTS, NOT_IMPLEMENTED, TOO_BIG, Problem
from .wishes import Wish

LONGEST_SQL = 256 * 1024
MOST_PARAMETERS = 1000
MULTIPART = "multipart/form-data"
LONGEST_HEAD = 1000
BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;",]{1,70}))')
FIELD = re.compile(rb'(?i:content-disposition: *form-data; *name=)"(\w{1,110})"')
PARAMETER = re.compile(r"[A-Za-z_]\w{0,99}")
QUERY_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,100}")
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks. ``parameters`` are escaped as the engine reads them; ``format`` is the
    one for a query that names none; ``protocol`` 0 is none."""

    sql: str
    parameters: Mapping[str, str]
    wish: Wish
    database: str = ""
    format: str = "TabSeparated"
    protocol: int = 0
    query_id: str = ""


def question(query: Iterable[tuple[str, str]], headers: Mapping[str, str], body: bytes) -> Question:
    """Return what a request asks. Raises Problem.

    Args:
        query: that of the URL, in order.
        headers: of the request, whose names are compared without case by the mapping.
        body: decompressed.
    """
    told = dict(query)
    if headers.get("Content-Type", "").startswith(MULTIPART):
        told |= _fields(headers["Content-Type"], body)
        body = b""
    sql = "\n".join(filter(None, (told.pop("query", ""), _decoded(body))))
    if len(sql) > LONGEST_SQL:
        raise Problem(TOO_BIG, f"the query is longer than {LONGEST_SQL} characters")
    if not sql.strip():
        raise Problem((62, "SYNTAX_ERROR"), "Empty query")
    parameters = {k.removeprefix("param_"): v for k, v in told.items() if k.startswith("param_")}
    _check_parameters(parameters)
    settings = [(k, v) for k, v in told.items() if not k.startswith("param_")]
    form = headers.get("X-ClickHouse-Format") or told.get("default_format") or "TabSeparated"
    said = told.get("database") or headers.get("X-ClickHouse-Database", "")
    return Question(
        sql,
        parameters,
        Wish().with_settings(settings),
        "" if said == "__default__" else said,
        formats.known(form),
        _protocol(told.get("client_protocol_version", "0")),
        told.get("query_id", "") if QUERY_ID.fullmatch(told.get("query_id", "")) else "",
    )


def escaped(text: str) -> str:
    """Return a text as the value of a parameter of type String is written."""
    return text.translate(ESCAPES)


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Problem(BAD_ARGUMENTS, "the query is not UTF-8") from None


def _protocol(said: str) -> int:
    return int(said) if said.isdecimal() and len(said) < 10 else 0


def _check_parameters(parameters: Mapping[str, str]) -> None:
    if len(parameters) > MOST_PARAMETERS:
        raise Problem(BAD_ARGUMENTS, f"there are more than {MOST_PARAMETERS} parameters")
    for name in parameters:
        if not PARAMETER.fullmatch(name):
            raise Problem(BAD_ARGUMENTS, f"param_{name[:40]} is no name of a parameter")


def _fields(kind: str, body: bytes) -> dict[str, str]:
    """Return the fields of a form (RFC 7578); a client that has long parameters sends them so."""
    boundary = BOUNDARY.search(kind)
    if boundary is None:
        raise Problem(BAD_ARGUMENTS, "the form names no boundary")
    mark = b"\r\n--" + (boundary[1] or boundary[2]).encode(errors="replace")
    parts = (b"\r\n" + body).split(mark, MOST_PARAMETERS + 3)[1:]
    if not parts or not parts[-1].startswith(b"--"):
        said = f"the form is not whole, or has more than {MOST_PARAMETERS} parameters"
        raise Problem(BAD_ARGUMENTS, said)
    return dict(map(_field, parts[:-1]))


def _field(part: bytes) -> tuple[str, str]:
    head, _, value = part.partition(b"\r\n\r\n")
    named = FIELD.search(head[:LONGEST_HEAD])
    name = named[1].decode() if named else ""
    if b"filename" in head or not (name == "query" or name.startswith("param_")):
        raise Problem(NOT_IMPLEMENTED, "external tables are not taken here")
    return name, _decoded(value)
