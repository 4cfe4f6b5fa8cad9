"""What panels answer, from a collector: each alone, with what was chosen."""

from __future__ import annotations

from typing import Any

import pytest

from wattshed_collector.errors import InvalidInput, StoreError
from wattshed_collector.pictures.answers import FromCollector, Scene, answers

BOARD = {
    "uid": "wattshed-trial",
    "panels": [
        {"id": 1, "type": "row", "panels": []},
        {"id": 2, "type": "stat", "targets": [{}]},
        {"id": 3, "type": "text"},
        {"id": 4, "type": "row", "panels": [{"id": 5, "type": "table", "targets": [{}]}]},
    ],
}
COLUMNS = [{"name": "power", "type": "Float64", "kind": "number", "values": [1.5]}]
SCENE = Scene(1_000, 61_000, {"team": ("a b", "c")})


class _Collector:
    """Answers panel 2, and fails at panel 5."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[tuple[str, str]]]] = []

    def get(self, path: str, query: list[tuple[str, str]]) -> Any:
        self.asked.append((path, query))
        if path.endswith("/5"):
            raise StoreError("the engine is away")
        if path == "/v1/boards":
            return {"boards": [{"uid": "wattshed-trial"}, {"uid": "wattshed-other"}]}
        if path == "/v1/boards/wattshed-trial":
            return BOARD
        return {"columns": COLUMNS}


def test_every_panel_is_asked_and_one_that_fails_leaves_the_others() -> None:
    collector = _Collector()
    told: list[None] = []
    found = answers(FromCollector(collector.get), BOARD, SCENE, lambda: told.append(None))
    assert found == {
        "2": {"columns": COLUMNS},
        "5": {"columns": [], "error": "the engine is away"},
    }
    assert len(told) == 2
    chosen = [("var-team", "a b"), ("var-team", "c")]
    query = [("from", "1000"), ("to", "61000"), *chosen]
    assert collector.asked == [
        ("/v1/boards/wattshed-trial/panels/2", query),
        ("/v1/boards/wattshed-trial/panels/5", query),
    ]


def test_boards_are_those_of_the_collector() -> None:
    source = FromCollector(_Collector().get)
    assert source.uids() == ["wattshed-trial", "wattshed-other"]
    assert source.document("wattshed-trial") == BOARD


def test_a_name_is_no_path() -> None:
    collector = _Collector()
    FromCollector(collector.get).columns("../v1/x?y=", 2, SCENE)
    assert collector.asked[0][0] == "/v1/boards/..%2Fv1%2Fx%3Fy%3D/panels/2"


def test_an_unknown_board_is_said() -> None:
    def get(path: str, query: list[tuple[str, str]]) -> Any:
        raise InvalidInput("there is no board called 'x'", "unknown")

    with pytest.raises(InvalidInput, match="no board called 'x'"):
        FromCollector(get).document("x")
