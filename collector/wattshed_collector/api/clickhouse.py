"""``/clickhouse``: ClickHouse's HTTP interface, read-only, for Grafana and any of its clients."""

from __future__ import annotations

import asyncio
import gzip
import json
import secrets
import zlib
from collections.abc import Awaitable, Callable

import zstandard
from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.clickhouse import native
from wattshed_collector.clickhouse.asked import Question, question
from wattshed_collector.clickhouse.desk import Desk
from wattshed_collector.clickhouse.engine import Answer
from wattshed_collector.clickhouse.errors import (
    BAD_ARGUMENTS,
    NOT_IMPLEMENTED,
    TOO_MANY_QUERIES,
    Problem,
)
from wattshed_collector.clickhouse.formats import FORMATS
from wattshed_collector.errors import InvalidInput
from wattshed_collector.openapi import NOBODY, Operation, Parameter, text
from wattshed_collector.security.keys import IDENTITY

from .large import LargeResponse, Unsent

MOST_BYTES = 2 * 2**20
"""Of a request's body, as sent and unpacked."""
COMPRESSED_FROM = 1024
SMALL = 64 * 1024
"""Bytes that are compressed at once; more keep a thread busy, not the loop."""

Sent = Callable[[web.Request, int], Awaitable[bytes]]

_NATIVE = {"application/octet-stream": {"type": "string", "format": "binary"}}
_ANSWERS = {openapi.JSON: {"type": "object"}, **_NATIVE, "text/tab-separated-values": text()}
_PARAMETERS = (
    Parameter("query", "One SELECT; the body may hold it, or the rest of it"),
    Parameter("default_format", "Where the query names none", text("", *FORMATS)),
    Parameter("database", "default, or none", text("", "default", "system")),
    Parameter("max_execution_time", "Seconds; the collector's own limit stays", text()),
)
_NOTE = (
    "ClickHouse's HTTP interface: param_name=value fills {name:Type}, FORMAT and X-ClickHouse-"
    "Format choose the format, errors are ClickHouse's. The views v_* can be read, nothing else. "
    "The password may be a token."
)
OPERATIONS = (
    Operation("GET", "/clickhouse", "The rows of a query", _ANSWERS, _PARAMETERS,
              refusals=(400,), note=_NOTE),
    Operation("POST", "/clickhouse", "The rows of a query", _ANSWERS, _PARAMETERS,
              takes={openapi.PLAIN: text("The query")}, refusals=(400,), note=_NOTE),
    Operation("GET", "/clickhouse/ping", "That this interface answers", {openapi.PLAIN: text()},
              role=NOBODY),
)  # fmt: skip


class ClickHouseApi:
    """Answers queries.

    ``desk`` None: the rows are on a server, which is to be asked itself. ``sent`` reads a
    request's body, decompressed, of at most so many bytes; raises InvalidInput.
    """

    def __init__(self, desk: Desk | None, sent: Sent) -> None:
        self._desk, self._sent, self._unsent = desk, sent, Unsent()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/clickhouse", self.ask, allow_head=False),
            web.post("/clickhouse", self.ask),
            web.get("/clickhouse/ping", self.ping),
        ]

    async def ask(self, request: web.Request) -> web.Response:
        """The rows of one SELECT, or ClickHouse's error."""
        query_id = secrets.token_hex(16)
        try:
            asked = await self._question(request)
            query_id = asked.query_id or query_id
            answer = await self._answer(request, asked)
            response = await _rows(request, answer, self._unsent)
        except Problem as problem:
            response = _refused(problem)
        response.headers["X-ClickHouse-Query-Id"] = query_id
        response.headers["X-ClickHouse-Server-Display-Name"] = native.NAME
        response.headers["X-ClickHouse-Timezone"] = native.TIMEZONE
        return response

    async def ping(self, request: web.Request) -> web.Response:
        """``Ok.``, where queries are answered here."""
        if self._desk is None:
            return _refused(_elsewhere())
        return web.Response(text="Ok.\n")

    async def _question(self, request: web.Request) -> Question:
        try:
            sent = await self._sent(request, MOST_BYTES)
        except InvalidInput as error:
            raise Problem(BAD_ARGUMENTS, str(error)) from None
        return question(request.query.items(), request.headers, sent)

    async def _answer(self, request: web.Request, asked: Question) -> Answer:
        if self._desk is None:
            raise _elsewhere()
        if self._unsent.is_full:
            raise Problem(TOO_MANY_QUERIES, "clients have not read the answers that they have")
        sender = request[IDENTITY].name or request.remote or ""
        return await self._desk.ask(sender, asked, lambda: _is_gone(request))


def _elsewhere() -> Problem:
    said = (
        "the rows are on a ClickHouse server: let Grafana ask that one, as a user with the role "
        "that `wattshed sql users` makes for it"
    )
    return Problem(NOT_IMPLEMENTED, said, 501)


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _rows(request: web.Request, answer: Answer, unsent: Unsent) -> web.Response:
    headers = {
        "Content-Type": FORMATS[answer.format],
        "X-ClickHouse-Format": answer.format,
        "X-ClickHouse-Summary": _summary(answer),
    }
    sent, encoding = answer.body, _encoding(request.headers.get("Accept-Encoding", ""))
    if encoding and len(sent) >= COMPRESSED_FROM:
        headers["Content-Encoding"] = encoding
        small = len(sent) <= SMALL
        packed = _packed(sent, encoding) if small else asyncio.to_thread(_packed, sent, encoding)
        sent = packed if isinstance(packed, bytes) else await packed
    if len(sent) > SMALL:
        return LargeResponse(request, unsent, body=sent, headers=headers)
    return web.Response(body=sent, headers=headers)


def _refused(problem: Problem) -> web.Response:
    headers = {"X-ClickHouse-Exception-Code": str(problem.code)}
    if problem.status == 503:
        headers["Retry-After"] = "1"
    return web.Response(text=problem.text(), status=problem.status, headers=headers)


def _summary(answer: Answer) -> str:
    told = {
        "read_rows": answer.read_rows,
        "read_bytes": answer.read_bytes,
        "written_rows": 0,
        "written_bytes": 0,
        "total_rows_to_read": 0,
        "result_rows": answer.rows,
        "result_bytes": len(answer.body),
        "elapsed_ns": round(answer.seconds * 1e9),
    }
    return json.dumps({name: str(value) for name, value in told.items()})


def _encoding(accepted: str) -> str:
    """Return how an answer may be packed of what a client takes, "" for not at all."""
    said = [part.strip().replace(" ", "").lower() for part in accepted.split(",")]
    names = [part.partition(";")[0] for part in said if not part.endswith((";q=0", ";q=0.0"))]
    return next((name for name in ("zstd", "gzip", "deflate") if name in names), "")


def _packed(sent: bytes, encoding: str) -> bytes:
    if encoding == "zstd":
        return zstandard.ZstdCompressor(1).compress(sent)
    return gzip.compress(sent, 1) if encoding == "gzip" else zlib.compress(sent, 1)
