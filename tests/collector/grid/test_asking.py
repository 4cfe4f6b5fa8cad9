"""The transport against a real HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from wattshed_collector.grid import asking
from wattshed_collector.grid.asking import Asking
from wattshed_collector.grid.providers import ProviderError, Refused


@pytest.fixture
async def service() -> AsyncIterator[TestServer]:
    async def good(request: web.Request) -> web.Response:
        return web.Response(text=request.headers["auth-token"])

    async def moved(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/good"})

    async def refused(_: web.Request) -> web.Response:
        return web.Response(status=403, text="the key top-secret is not valid")

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=bytes(asking.MOST_BYTES + 1))

    app = web.Application()
    for path, answers in (("good", good), ("moved", moved), ("no", refused), ("large", large)):
        app.router.add_get(f"/{path}", answers)
    server = TestServer(app)
    async with server:
        yield server


@pytest.fixture
async def get() -> AsyncIterator[Asking]:
    made = Asking()
    yield made
    await made.close()


KEY = {"auth-token": "top-secret"}


async def test_an_answer(service: TestServer, get: Asking) -> None:
    assert await get.get(str(service.make_url("/good")), KEY) == b"top-secret"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("moved?zone=DE", "/moved answers 302 Found"),
        ("no", "/no answers 403 Forbidden"),
        ("large", "the answer has more than"),
        ("nothing", "/nothing answers 404"),
    ],
)
async def test_anything_else_is_said_without_the_key(
    service: TestServer, get: Asking, path: str, said: str
) -> None:
    with pytest.raises(ProviderError, match=said) as raised:
        await get.get(f"{service.make_url('/')}{path}", KEY)
    assert "secret" not in str(raised.value)
    assert isinstance(raised.value, Refused) == (path == "no")


async def test_nobody_is_there(get: Asking) -> None:
    with pytest.raises(ProviderError, match=r"127\.0\.0\.1:1/x"):
        await get.get("http://127.0.0.1:1/x?token=top-secret", KEY)


async def test_a_key_that_no_header_can_hold(service: TestServer, get: Asking) -> None:
    with pytest.raises(ProviderError, match="cannot be sent in a header") as raised:
        await get.get(str(service.make_url("/good")), {"auth-token": "top-secret\nof-two-lines"})
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None
