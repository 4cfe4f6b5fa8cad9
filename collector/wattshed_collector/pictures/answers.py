"""What a board's panels answer, as the page that draws them takes it: from a collector or a store.

Source of the page's form: ``dashboards/preview/src/page.ts``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from wattshed_collector.boards import POINTS, Asked, Boards, panels_of
from wattshed_collector.errors import CollectorError
from wattshed_collector.store.client import Client
from wattshed_dashboards.macros import Window

Json = dict[str, Any]
Chosen = Mapping[str, Sequence[str]]
Get = Callable[..., Any]
"""``get(path, query)`` of a collector: the JSON that it answers."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Unix milliseconds, and the values of variables; one that is not named has everything."""

    from_ms: int
    to_ms: int
    chosen: Chosen


class Source(Protocol):
    """Boards and what their panels answer. Raises InvalidInput where there is no such board."""

    def uids(self) -> list[str]: ...

    def document(self, uid: str) -> Json: ...

    def columns(self, uid: str, panel: int, scene: Scene) -> list[Any]: ...


class FromStore:
    """Asks a store that no collector has open."""

    def __init__(self, client: Client, boards: Boards) -> None:
        self._client = client
        self._boards = boards

    def uids(self) -> list[str]:
        return [board["uid"] for board in self._boards.documents()]

    def document(self, uid: str) -> Json:
        return self._boards.document(uid)

    def columns(self, uid: str, panel: int, scene: Scene) -> list[Any]:
        window = Window.of(scene.from_ms, scene.to_ms, POINTS)
        return list(self._boards.answer(self._client, uid, panel, Asked(window, scene.chosen)))


class FromCollector:
    """Asks a running collector."""

    def __init__(self, get: Get) -> None:
        self._get = get

    def uids(self) -> list[str]:
        return [board["uid"] for board in self._get("/v1/boards", [])["boards"]]

    def document(self, uid: str) -> Json:
        return dict(self._get(f"/v1/boards/{quote(uid, safe='')}", []))

    def columns(self, uid: str, panel: int, scene: Scene) -> list[Any]:
        query = [("from", str(scene.from_ms)), ("to", str(scene.to_ms))]
        query += [(f"var-{name}", each) for name, values in scene.chosen.items() for each in values]
        path = f"/v1/boards/{quote(uid, safe='')}/panels/{panel}"
        return list(self._get(path, query)["columns"])


def answers(source: Source, board: Json, scene: Scene, told: Callable[[], None]) -> Json:
    """Return each panel's answer by its id, or its error, so that one that fails leaves the others.

    ``told`` is called after each.
    """
    found: Json = {}
    for panel in panels_of(board):
        if not panel.get("targets"):
            continue
        try:
            columns = source.columns(board["uid"], panel["id"], scene)
            found[str(panel["id"])] = {"columns": columns}
        except CollectorError as error:
            found[str(panel["id"])] = {"columns": [], "error": str(error)}
        told()
    return found
