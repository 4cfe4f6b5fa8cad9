"""What receivers share: every error has its status, and room is held while a request is read."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler

from wattshed_collector.config import Ingest
from wattshed_collector.errors import InvalidInput, Permanent, Retryable, StoreError
from wattshed_collector.receivers.body import TooLarge, UnknownEncoding
from wattshed_collector.receivers.intake import Arrival, Intake, Means, Refusal, refusal
from wattshed_collector.receivers.turns import Turns
from wattshed_collector.security.keys import IDENTITY
from wattshed_collector.security.rules import Identity, Role
from wattshed_collector.security.tenancy import Tenancy
from wattshed_collector.store.budget import LEAST_ENTRY_BYTES, Budget, Busy
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

if TYPE_CHECKING:
    from tests.collector.conftest import Bed


@pytest.mark.parametrize(
    ("error", "status", "reason", "is_poison", "retry_after_seconds"),
    [
        (TooLarge("x", "body_too_large"), 413, "body_too_large", False, 0),
        (TooLarge("x", "too_many_parts"), 413, "too_many_parts", False, 0),
        (UnknownEncoding("x", "unknown_encoding"), 415, "unknown_encoding", False, 0),
        (InvalidInput("x", "content_type"), 415, "content_type", False, 0),
        (InvalidInput("x", "broken_off"), 400, "broken_off", False, 0),
        (InvalidInput("x", "malformed"), 400, "malformed", True, 0),
        (Permanent("x"), 400, "not_storable", True, 0),
        (Retryable("x", 2.5), 503, "", False, 3),
        (Busy("x", 7.0), 503, "", False, 7),
        (StoreError("x"), 503, "", False, 1),
    ],
)
def test_every_error_has_its_status(
    error: Exception, status: int, reason: str, *, is_poison: bool, retry_after_seconds: int
) -> None:
    refused = refusal(error)
    assert (refused.status, refused.reason, refused.is_poison) == (status, reason, is_poison)
    assert refused.retry_after_seconds == retry_after_seconds


class Echo:
    """Answers with what is held of the budget while a body is read, and by whom it was sent."""

    def __init__(self, intake: Intake, budget: Budget) -> None:
        self._intake = intake
        self._budget = budget

    async def take(self, request: web.Request) -> web.Response:
        return await self._intake.answer(request, self._take, _refused)

    async def _take(self, arrival: Arrival) -> web.Response:
        raw = await arrival.read()
        arrival.unpacked(1 << 20)
        stored = await self._intake.store(arrival, Batch())
        assert stored.future is None
        return web.Response(text=f"{len(raw)} {self._budget.used_bytes} {arrival.turn}")


@web.middleware
async def _gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    request[IDENTITY] = Identity(request.headers.get("X-Who", ""), frozenset({Role.INGEST}))
    return await handler(request)


def _refused(refused: Refusal) -> web.Response:
    return web.Response(status=refused.status, text=str(refused.error))


async def test_room_is_held_while_a_request_is_read_and_no_longer(bed: Bed) -> None:
    budget, telemetry, writer = Budget(4 * LEAST_ENTRY_BYTES), Telemetry(), bed.writer()
    means = Means(writer, telemetry, Ingest(), budget=budget, tenancy=Tenancy())
    intake = Intake("echo", means)
    app = web.Application(middlewares=[_gate])
    app.add_routes([web.post("/", Echo(intake, budget).take)])
    async with TestClient(TestServer(app, skip_url_asserts=True)) as client:
        body = bytes(LEAST_ENTRY_BYTES)
        said = await client.post("/", data=body, headers={"X-Who": "lab"})
        assert await said.text() == f"{len(body)} {2 * len(body)} lab"
        assert budget.used_bytes == 0
        said = await client.post("/", data=b"x")
        assert (await said.text()).split()[1:] == [str(LEAST_ENTRY_BYTES), "127.0.0.1"]

        budget.take("greedy", 3 * LEAST_ENTRY_BYTES + 1)
        refused = await client.post("/", data=body)
        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert budget.used_bytes == 3 * LEAST_ENTRY_BYTES + 1
    writer.close()
    told = {"receiver": "echo", "code": "503"}
    assert telemetry.registry.get_sample_value("wattshed_collector_requests_total", told) == 1


async def test_a_body_in_chunks_is_refused_as_soon_as_there_is_no_room(bed: Bed) -> None:
    budget, writer = Budget(4 * LEAST_ENTRY_BYTES), bed.writer()
    intake = Intake("echo", Means(writer, Telemetry(), Ingest(), budget=budget))
    app = web.Application(middlewares=[_gate])
    app.add_routes([web.post("/", Echo(intake, budget).take)])
    budget.take("somebody", 1)
    async with TestServer(app) as server:
        reader, stream = await asyncio.open_connection("127.0.0.1", server.port)
        stream.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"%x\r\n" % LEAST_ENTRY_BYTES + bytes(LEAST_ENTRY_BYTES) + b"\r\n"
        stream.write(4 * chunk)  # and no last one
        async with asyncio.timeout(10):
            assert b" 503 " in await reader.readline()
        stream.close()
    assert budget.used_bytes == 1
    writer.close()


async def test_one_that_sends_much_has_the_threads_in_turn_with_others(bed: Bed) -> None:
    writer, seen, hold = bed.writer(), list[str](), threading.Event()

    def decode(who: str) -> None:
        hold.wait()
        seen.append(who)

    with ThreadPoolExecutor(2) as threads:
        means = Means(writer, Telemetry(), Ingest(), threads=threads, turns=Turns(2))
        intake = Intake("echo", means)
        senders = "a" * 10 + "b"
        waiting = [asyncio.create_task(intake.decoded(who, decode, who)) for who in senders]
        await asyncio.sleep(0)
        hold.set()
        await asyncio.gather(*waiting)
    assert sorted(seen) == sorted(senders)
    assert seen.index("b") < 5
    writer.close()


async def test_a_body_that_cannot_be_read_for_a_reason_that_nobody_knows_is_poison(
    bed: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    writer = bed.writer()
    intake = Intake("echo", Means(writer, Telemetry(), Ingest()))
    with pytest.raises(InvalidInput, match="cannot be read") as caught:
        await intake.decoded("", lambda: [][1])
    assert refusal(caught.value).is_poison
    assert "IndexError" in caplog.text
    writer.close()
