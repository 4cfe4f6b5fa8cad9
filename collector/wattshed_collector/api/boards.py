"""``/v1/boards``: boards as JSON, what their panels answer, and what narrows them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.boards import POINTS, Asked, Boards, chosen_of
from wattshed_collector.errors import InvalidInput
from wattshed_collector.openapi import Operation, Parameter, listed, record, text, whole
from wattshed_collector.store.read import Reader
from wattshed_dashboards.macros import Window

from .documents import answered
from .window import LONGEST_S, range_ms

OPEN_MS = 120_000
"""How long readings are on their way and wait for the ledger, about."""

_UID = Parameter("uid", "Of the board", is_required=True, where="path", example="wattshed-fleet")
_FROM = Parameter(
    "from",
    "Begin of the window as Grafana's URLs write it: now-6h, Unix milliseconds, or an instant",
    {"type": "string", "default": "now-6h"},
)
_TO = Parameter("to", "End of the window, the same way", {"type": "string", "default": "now"})
_CHOSEN = Parameter(
    "var-team",
    "What the board's variable team is set to; may be repeated. So are the other variables; one "
    "that is not named, or is $__all, has everything",
    example="research",
)
_BOARD = {
    "uid": text(),
    "title": text(),
    "question": text("What the board answers"),
    "panels": whole("How many ask something"),
    "window": text("How far back it looks at first, such as now-6h"),
}
_COLUMN = {
    "name": text(),
    "type": text("ClickHouse's name of it"),
    "kind": text("time: Unix seconds", "time", "number", "flag", "text"),
    "values": listed({}, "One for each row; null where it is not known"),
}
OPERATIONS = (
    Operation("GET", "/v1/boards", "The boards, each with the question that it answers",
              {openapi.JSON: record({"boards": listed(record(_BOARD))})}),
    Operation("GET", "/v1/boards/{uid}", "A board as Grafana's classic dashboard JSON",
              {openapi.JSON: {"type": "object"}}, (_UID,), refusals=(404,)),
    Operation(
        "GET",
        "/v1/boards/{uid}/panels/{id}",
        "What a panel answers, by column",
        {
            openapi.JSON: record(
                {
                    "board": text(),
                    "panel": whole(),
                    "window": openapi.SPAN,
                    "rows": whole(),
                    "columns": listed(record(_COLUMN)),
                }
            )
        },
        (
            _UID,
            Parameter("id", "Number of the panel in the board's JSON", is_required=True,
                      where="path", example="2"),
            _FROM, _TO, _CHOSEN,
        ),
        refusals=(400, 404),
    ),
    Operation(
        "GET",
        "/v1/boards/{uid}/variables/{name}",
        "What a variable of a board can be set to",
        {openapi.JSON: record({"name": text(), "label": text(), "values": listed(text())})},
        (
            _UID,
            Parameter("name", "Of the variable", is_required=True, where="path", example="site"),
            _FROM, _TO, _CHOSEN,
        ),
        refusals=(400, 404),
    ),
)  # fmt: skip

Handler = Callable[[web.Request], Awaitable[web.Response]]


class BoardsApi:
    """Answers for each panel alone, so that one that fails leaves the others."""

    def __init__(self, reader: Reader, boards: Boards, longest_seconds: float = LONGEST_S) -> None:
        self._reader = reader
        self._boards = boards
        self._longest_seconds = longest_seconds

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/boards", self.list),
            web.get("/v1/boards/{uid}", _named(self.board)),
            web.get("/v1/boards/{uid}/panels/{id}", _named(self.panel)),
            web.get("/v1/boards/{uid}/variables/{name}", _named(self.variable)),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Every board with its question."""
        return answered({"boards": [self._said(board) for board in self._boards.documents()]})

    async def board(self, request: web.Request) -> web.Response:
        """One board's JSON."""
        return answered(self._boards.document(request.match_info["uid"]))

    async def panel(self, request: web.Request) -> web.Response:
        """The answer of a panel ``?from=now-6h&to=now&var-team=a&var-team=b``."""
        uid, number = request.match_info["uid"], _whole(request.match_info["id"])
        self._boards.panel(uid, number)
        asked = self._asked(request)
        columns = await self._reader.ask(self._boards.answer, uid, number, asked)
        window = asked.window
        return answered(
            {
                "board": uid,
                "panel": number,
                "window": {
                    "start": window.from_ms // 1000,
                    "end": window.to_ms // 1000,
                    "step": window.interval_ms // 1000,
                },
                "rows": len(columns[0]["values"]) if columns else 0,
                "columns": columns,
            }
        )

    async def variable(self, request: web.Request) -> web.Response:
        """The choices of a variable, narrowed by those that stand before it."""
        uid, name = request.match_info["uid"], request.match_info["name"]
        told = self._boards.variable(uid, name)
        values = await self._reader.ask(self._boards.choices, uid, name, self._asked(request))
        return answered({"name": name, "label": told["label"], "values": values})

    def _said(self, board: dict[str, Any]) -> dict[str, Any]:
        return {
            "uid": board["uid"],
            "title": board["title"],
            "question": board["description"],
            "panels": self._boards.asking(board["uid"]),
            "window": board["time"]["from"],
        }

    def _asked(self, request: web.Request) -> Asked:
        query = request.query
        told = query.get("from", "now-6h"), query.get("to", "now")
        first, last = range_ms(*told, time.time(), self._longest_seconds)
        open_ms = OPEN_MS if told[1] == "now" else 0
        return Asked(Window.of(first, last, POINTS), chosen_of(query.items()), open_ms)


def _named(handler: Handler) -> Handler:
    """Answer 404 where what the path names is not there."""

    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except InvalidInput as error:
            if error.reason != "unknown":
                raise
            return answered({"error": str(error)}, 404)

    return answer


def _whole(told: str) -> int:
    if not told.isdecimal() or len(told) > 9:
        raise InvalidInput(f"there is no panel called {told!r}", "unknown")
    return int(told)
