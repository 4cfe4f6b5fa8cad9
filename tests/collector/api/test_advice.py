"""``/v1/advice`` and ``wattshed advice`` on a collector that has nothing to advise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from wattshed_collector.advice.model import State
from wattshed_collector.api.advice import AdviceApi
from wattshed_collector.cli import access, main
from wattshed_collector.config import Config
from wattshed_collector.security.keys import IDENTITY
from wattshed_collector.security.rules import Identity, Role
from wattshed_collector.store.advice import Saying
from wattshed_collector.store.read import Reader

if TYPE_CHECKING:
    from tests.collector.conftest import Running


T = TypeVar("T")


def status(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(["advice", *arguments])
    return ended.value.code


def test_it_is_asked_over_http_and_by_command(
    collect: Callable[[Config], AbstractContextManager[Running]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = str(tmp_path / "data")
    with collect(Config(listen="127.0.0.1:0", data=data)) as running:
        empty = {"advice": [], "open_joules_per_month": 0, "saved_joules": 0, "saved_g": 0}
        empty["next"] = None
        assert running.get("/v1/advice").json == empty
        assert running.get("/v1/advice?state=new").status == 400
        url = ["--url", running.url]
        assert status("list", *url) == 0
        assert status("find", *url) == 0
        assert status("done", "abc", *url) == 2
        assert status("show", "abc", *url) == 2
        assert status("list", "--state", "new", *url) == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == ["nothing is advised", "0 found"]
    assert "there is no advice 'abc'" in said.err
    # No collector runs: the store itself is asked, and nothing can be said.
    assert status("list", "--data", data, "--json") == 0
    assert json.loads(capsys.readouterr().out) == empty
    assert status("dismiss", "abc", "--data", data) == 1


class Clerk(Reader):
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def ask(self, question: Callable[..., T], *arguments: Any) -> T:
        self.asked.append(arguments)
        return cast(T, {})


def test_said_by_is_who_was_authenticated() -> None:
    async def unpacked(request: web.Request, most_bytes: int) -> bytes:
        return b'{"id": "a", "state": "done", "by": "root"}'

    clerk = Clerk()
    request = make_mocked_request("POST", "/v1/advice")
    request[IDENTITY] = Identity("ada", frozenset({Role.ADMIN}))
    asyncio.run(AdviceApi(clerk, clerk, unpacked).say(request))
    ((id, saying, _),) = clerk.asked
    assert (id, saying) == ("a", Saying(State.DONE, "ada", "root"))


@pytest.mark.parametrize("error", [OSError, KeyError, ImportError])
def test_who_has_no_name_is_nobody(error: type[Exception]) -> None:
    def nameless() -> str:
        raise error("uid not found: 1000")

    assert (access.user(nameless), access.user(lambda: "ada")) == ("", "ada")
