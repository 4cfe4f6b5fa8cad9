"""What takes long is done beside the event loop: others are answered meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from tests.fixtures.clients import Through

from wattshed_collector.api.ledger import LedgerApi
from wattshed_collector.ledger import Policy
from wattshed_collector.ledger_job import LedgerJob
from wattshed_collector.store.client import Client
from wattshed_collector.store.read import Reader
from wattshed_collector.store.shards import Shards
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200  # 2026-01-15T10:00:00Z
WAIT_S = 60.0
"""After that a test that hangs fails."""


class Gate(Through):
    """A client whose statements wait, once it is shut, until it is opened."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.is_open = threading.Event()
        self.is_open.set()
        self.reached = threading.Event()

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        if not self.is_open.is_set():
            self.reached.set()
            if not self.is_open.wait(WAIT_S):
                raise TimeoutError("nobody opened the gate")
        self._client.command(sql, parameters)


async def ask_beside(api: LedgerApi, gate: Gate) -> tuple[dict[str, Any], bool, dict[str, Any]]:
    """Ask for a recomputation and, while it waits at the gate, for the state."""
    app = web.Application()
    app.add_routes(api.routes())
    async with TestClient(TestServer(app)) as client:
        wanted = {"from": "2026-01-15T10:00Z", "to": "2026-01-15T11:00Z"}
        asking = asyncio.create_task(client.post("/v1/ledger/recompute", json=wanted))
        assert await asyncio.to_thread(gate.reached.wait, WAIT_S)
        state = await (await client.get("/v1/ledger")).json()
        was_done = asking.done()
        gate.is_open.set()
        return state, was_done, await (await asking).json()


def test_others_are_answered_while_the_ledger_computes(bed: Bed) -> None:
    ticks = tuple(
        Tick("d", (BASE + m * 600) * 1000, 600_000, Method.INTEGRAL, 100.0) for m in range(7)
    )
    bed.write(Batch(devices=(Device("d", Kind.GPU, "n", "nvml"),), ticks=ticks))
    gate = Gate(bed.store.client())
    job = LedgerJob(lambda: Shards(gate), Policy(raw_days=0), Telemetry(), 60.0)
    reader = Reader(bed.store.client)
    try:
        job.ask(lambda ledger: None).result(WAIT_S)
        gate.is_open.clear()
        state, was_done, answer = asyncio.run(ask_beside(LedgerApi(reader, job), gate))
    finally:
        gate.is_open.set()
        job.close(WAIT_S)
        reader.close()
    assert not was_done
    assert state["settled"] == BASE + 3600
    assert (answer["hours"], answer["written"]) == (1, True)
