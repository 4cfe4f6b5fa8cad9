"""Boards over HTTP: as JSON, panel by panel, and as pages."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from jsonschema import Draft202012Validator
from tests.fixtures.trial_board import TRIAL

from wattshed_collector.api import boards as described
from wattshed_collector.api.board_pages import BoardPages
from wattshed_collector.api.boards import BoardsApi
from wattshed_collector.api.routes import errors
from wattshed_collector.boards import Boards
from wattshed_collector.store.read import QueryLimits, Reader
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

UID = "wattshed-trial"
Served = TestClient[web.Request, web.Application]


@pytest.fixture(scope="module")
def app_parts(shared_bed: Bed) -> Iterator[Reader]:
    start = (int(time.time()) // 60 - 5) * 60_000
    ticks = tuple(
        Tick(f"{node}/c", start + n * 10_000, 10_000, Method.INTEGRAL, 100.0)
        for n in range(20) for node in ("n1", "it's")
    )  # fmt: skip
    devices = tuple(Device(f"{n}/c", Kind.GPU, n, "nvml", site="dub") for n in ("n1", "it's"))
    shared_bed.write(Batch(devices=devices, ticks=ticks))
    shared_bed.ledger().run()
    reader = Reader(lambda: shared_bed.store.client(only_reads=True), QueryLimits(5.0, 1000))
    yield reader
    reader.close()


@pytest.fixture
async def served(
    app_parts: Reader, tmp_path: Path, aiohttp_client: Callable[..., Awaitable[Served]]
) -> Served:
    (tmp_path / "Trial.md").write_text("# Trial\n\nIt tries <b>you</b>.\n\n[other](Other.md)")
    app = web.Application(middlewares=[errors])
    boards = Boards([TRIAL])
    app.add_routes(BoardsApi(app_parts, boards, 86_400 * 400).routes())
    app.add_routes(BoardPages(boards, tmp_path).routes())
    return await aiohttp_client(app)


async def _json(served: Served, path: str) -> tuple[int, Any]:
    answer = await served.get(path)
    return answer.status, await answer.json()


def _conforms(path: str, document: Any) -> None:
    (schema,) = [o.answers["application/json"] for o in described.OPERATIONS if o.path == path]
    Draft202012Validator(dict(schema)).validate(document)


async def test_the_list(served: Served) -> None:
    _, told = await _json(served, "/v1/boards")
    _conforms("/v1/boards", told)
    (board,) = told["boards"]
    assert (board["uid"], board["question"]) == (UID, TRIAL.question)
    assert board["panels"] == 13 - 2


async def test_a_boards_own_json(served: Served) -> None:
    _, told = await _json(served, f"/v1/boards/{UID}")
    assert told["uid"] == UID
    assert told["schemaVersion"] == 39


async def test_a_panel_answers_by_column(served: Served) -> None:
    _, told = await _json(served, f"/v1/boards/{UID}/panels/2?from=now-1h&to=now")
    _conforms("/v1/boards/{uid}/panels/{id}", told)
    (energy,) = told["columns"]
    assert (energy["name"], energy["kind"], told["rows"]) == ("energy", "number", 1)
    assert energy["values"][0] == pytest.approx(2 * 190 * 100 / 3600)
    window = told["window"]
    assert window["end"] - window["start"] == 3600
    assert window["step"] == 60


async def test_what_was_chosen_narrows(served: Served) -> None:
    path = f"/v1/boards/{UID}/panels/2?from=now-1h"
    _, one = await _json(served, f"{path}&var-node=it's&var-nothing=x")
    _, both = await _json(served, f"{path}&var-node=it's&var-node=n1")
    _, none = await _json(served, f"{path}&var-node=it%5C%27")
    values = [told["columns"][0]["values"][0] for told in (one, both, none)]
    assert values == pytest.approx([190 * 100 / 3600, 2 * 190 * 100 / 3600, 0])


async def test_the_choices_of_a_variable(served: Served) -> None:
    path = f"/v1/boards/{UID}/variables"
    _, told = await _json(served, f"{path}/node")
    _conforms("/v1/boards/{uid}/variables/{name}", told)
    assert told == {"name": "node", "label": "Node", "values": ["it's", "n1"]}
    assert (await _json(served, f"{path}/node?var-site=elsewhere"))[1]["values"] == []


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/v1/boards/x", 404, "no board called 'x'"),
        (f"/v1/boards/{UID}/panels/99", 404, "no panel of wattshed-trial called 99"),
        (f"/v1/boards/{UID}/panels/1", 404, "no panel"),
        (f"/v1/boards/{UID}/panels/-1", 404, "'-1'"),
        (f"/v1/boards/{UID}/panels/5", 404, "asks nothing"),
        (f"/v1/boards/{UID}/variables/x", 404, "no variable"),
        (f"/v1/boards/{UID}/panels/2?from=yesterday", 400, "write now, now-6h"),
        (f"/v1/boards/{UID}/panels/2?from=now&to=now-1h", 400, "is empty"),
        (f"/v1/boards/{UID}/panels/2?from=now-500d", 400, "longer than is answered"),
        (f"/v1/boards/{UID}/panels/2?to=99999999999999", 400, "2105"),
    ],
)
async def test_what_cannot_be_asked_is_said(
    served: Served, path: str, status: int, says: str
) -> None:
    found, told = await _json(served, path)
    assert (found, says in told["error"]) == (status, True), told


async def test_the_pages(served: Served) -> None:
    for path, words in (
        ("/boards", TRIAL.question),
        (f"/boards/{UID}", "Idle share by node"),
        ("/runbooks", "It tries &lt;b&gt;you&lt;/b&gt;."),
        ("/runbooks/Trial", 'href="/runbooks/Other"'),
    ):
        answer = await served.get(path)
        assert answer.status == 200
        assert answer.content_type == "text/html"
        assert words in await answer.text()


@pytest.mark.parametrize("path", ["/boards/<b>", "/runbooks/<b>", "/runbooks/..%2Fsecret"])
async def test_a_page_that_is_not_there(served: Served, path: str) -> None:
    answer = await served.get(path)
    assert answer.status == 404
    text = await answer.text()
    assert "Not here" in text
    assert "<b>&gt;" not in text
