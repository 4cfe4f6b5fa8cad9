"""A remote write that could not be stored is asked for again, and then nothing of it is missing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import cramjam
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from tests.fixtures.pages import dcgm
from tests.fixtures.prompb import request, time_series

from wattshed_collector.config import Ingest
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.normalise.samples import samples
from wattshed_collector.receivers.intake import Intake, Means
from wattshed_collector.receivers.others import Others
from wattshed_collector.receivers.remote_write import PROTOBUF, RemoteWriteReceiver
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR_MS = 3_600_000
START_MS = int(time.time() * 1000) // HOUR_MS * HOUR_MS - HOUR_MS + 60_000


def scraped(at_ms: int) -> bytes:
    said = samples(dcgm("GPU-a", 300, at_ms, pod="a", namespace="ml"), at_ms)
    return bytes(cramjam.snappy.compress_raw(request(map(time_series, said))))


async def answer(writer: Writer, foreign: Foreign, body: bytes) -> tuple[int, str]:
    intake = Intake("remote_write", Means(writer, Telemetry(), Ingest()))
    others = Others((), 1, Limits())
    app = web.Application()
    app.add_routes(RemoteWriteReceiver(intake, Normaliser(Limits()), foreign, others).routes())
    headers = {"Content-Type": PROTOBUF, "Content-Encoding": "snappy"}
    async with TestClient(TestServer(app, skip_url_asserts=True)) as client:
        response = await client.post("/api/v1/write", data=body, headers=headers)
        return response.status, response.headers.get("Retry-After", "")


async def test_what_was_refused_for_now_is_whole_when_it_comes_again(bed: Bed) -> None:
    foreign, stopped, writer = Foreign(), bed.writer(), bed.writer()
    stopped.close()
    later_ms = START_MS + 15_000
    assert await answer(writer, foreign, scraped(START_MS)) == (204, "")
    assert await answer(stopped, foreign, scraped(later_ms)) == (503, "1")
    assert await answer(writer, foreign, scraped(later_ms)) == (204, "")
    writer.close()
    ticks = bed.client.rows("SELECT toUnixTimestamp64Milli(ts), energy_uj FROM tick FINAL")
    assert sorted(ticks) == [(START_MS, START_MS * 1000), (later_ms, later_ms * 1000)]
    held = bed.client.rows(
        "SELECT toUnixTimestamp64Milli(start_ts), toUnixTimestamp64Milli(end_ts) "
        "FROM allocation FINAL"
    )
    assert held == [(START_MS, later_ms)]
