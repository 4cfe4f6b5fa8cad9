"""``/boards`` and ``/runbooks``: what operators look at without Grafana."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.boards import Boards
from wattshed_collector.errors import InvalidInput
from wattshed_collector.openapi import Operation, Parameter, text
from wattshed_collector.present import boards as shown
from wattshed_collector.present import runbooks

_PAGE = {openapi.HTML: text()}
OPERATIONS = (
    Operation("GET", "/boards", "The page that lists the boards", _PAGE),
    Operation("GET", "/boards/{uid}", "The page of a board, drawn from the same SQL as in Grafana",
              _PAGE,
              (Parameter("uid", "Of the board", is_required=True, where="path",
                         example="wattshed-fleet"),),
              refusals=(404,), note="Takes from, to and var-... as the panels do."),
    Operation("GET", "/runbooks", "The page that lists the runbooks", _PAGE),
    Operation("GET", "/runbooks/{name}", "What to do when an alert fires", _PAGE,
              (Parameter("name", "Of the alert", is_required=True, where="path"),),
              refusals=(404,)),
)  # fmt: skip


class BoardPages:
    """``folder`` holds a Markdown file for each alert."""

    def __init__(self, boards: Boards, folder: Path) -> None:
        self._boards = boards
        self._folder = folder

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/boards", self.list),
            web.get("/boards/{uid}", self.board),
            web.get("/runbooks", self.runbooks),
            web.get("/runbooks/{name}", self.runbook),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Every board with its question."""
        return _page(shown.listing(self._boards.documents()))

    async def board(self, request: web.Request) -> web.Response:
        """One board; what it shows is asked by the browser."""
        try:
            document = self._boards.document(request.match_info["uid"])
        except InvalidInput as error:
            return _page(shown.missing(str(error)), 404)
        return _page(shown.board_page(document, self._boards.documents()))

    async def runbooks(self, request: web.Request) -> web.Response:
        """Every runbook with its first sentences."""
        texts = {name: file.read_text(encoding="utf-8") for name, file in self._files().items()}
        return _page(runbooks.listing(texts))

    async def runbook(self, request: web.Request) -> web.Response:
        """One runbook."""
        name = request.match_info["name"]
        file = self._files().get(name)
        if file is None:
            return _page(shown.missing(f"there is no runbook called {name!r}"), 404)
        return _page(runbooks.runbook(name, file.read_text(encoding="utf-8")))

    def _files(self) -> dict[str, Path]:
        """Return the files by name: what is asked for is looked up, never made a path."""
        return {file.stem: file for file in self._folder.glob("*.md")}


def _page(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html")
