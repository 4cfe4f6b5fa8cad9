"""A client that does not read its answer, on a real socket."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestServer

from wattshed_collector.api.large import LargeResponse, Unsent

SIZE = 16 * 2**20


async def test_who_does_not_read_is_cut_off_and_holds_nothing() -> None:
    unsent = Unsent(most=SIZE, seconds=0.3)

    async def answer(request: web.Request) -> web.Response:
        return LargeResponse(request, unsent, body=b"x" * SIZE)

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port, limit=2**16)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readexactly(12)).endswith(b"200")
        assert (unsent.size, unsent.is_full) == (SIZE, True)
        async with asyncio.timeout(120):
            while unsent.size:  # noqa: ASYNC110 (no event tells it)
                await asyncio.sleep(0.05)
        read = 0
        try:
            while some := await reader.read(2**20):
                read += len(some)
        except ConnectionResetError:
            pass
        assert read < SIZE
        writer.close()


async def test_who_reads_has_all_of_it() -> None:
    unsent = Unsent()

    async def answer(request: web.Request) -> web.Response:
        return LargeResponse(request, unsent, body=b"x" * SIZE)

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert (head[:12], len(body), unsent.size) == (b"HTTP/1.1 200", SIZE, 0)
        writer.close()
