"""What nobody expected is logged, and answered without a word of the inside."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from wattshed_collector.api.access import unexpected


async def fails(request: web.Request) -> web.Response:
    raise KeyError("secret of the inside")


async def test_an_unexpected_error(caplog: pytest.LogCaptureFixture) -> None:
    app = web.Application(middlewares=[unexpected])
    app.add_routes([web.get("/", fails)])
    async with TestClient(TestServer(app, skip_url_asserts=True)) as client:
        answer = await client.get("/")
        assert answer.status == 500
        assert await answer.json() == {"error": "internal error; the collector's log has more"}
    assert "secret of the inside" in caplog.text
