"""Scraping real HTTP servers: good pages become ticks, bad targets harm nobody but themselves."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from wattshed_collector.config import Scrape
from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.receivers.scrape import Scraper
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick
from wattshed_exporter.outputs import Snapshot
from wattshed_exporter.outputs.exposition import Exposition
from wattshed_exporter.outputs.prometheus import CONTENT_TYPE

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

NOW_MS = int(time.time() * 1000)
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


def page(device: str = "d", ts_ms: int = NOW_MS) -> bytes:
    """What our exporter says about one device."""
    known = Device(device, Kind.GPU, "n", "nvml", vendor="NVIDIA", power_limit_watts=700.0)
    tick = Tick(device, ts_ms, 1000, Method.COUNTER, 123.25, 10**15 + 1, ts_ms - 7000, 0.5)
    return Exposition().render(Snapshot((known,), {device: tick}))


def answering(body: bytes, **headers: str) -> Answering:
    async def answer(request: web.Request) -> web.Response:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE, **told})

    return answer


@asynccontextmanager
async def serving(answer: Answering) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/metrics", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/metrics"))


class Station:
    """A scraper with a real store behind it."""

    def __init__(self, bed: Bed, writer: Writer) -> None:
        self.bed = bed
        self.telemetry = Telemetry()
        self.writer = writer

    def scraper(self, *targets: str, **how: float) -> Scraper:
        options = Scrape(targets=targets, **how)  # type: ignore[arg-type]
        return Scraper(self.writer, Normaliser(Limits()), Foreign(), self.telemetry, options)

    async def scrape(self, target: str, **how: float) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as session:
            await self.scraper(**how).scrape(session, target)

    def sample(self, name: str, **labels: str) -> float:
        found = self.telemetry.registry.get_sample_value(f"wattshed_collector_{name}", labels)
        return found or 0.0

    def ticks(self) -> list[tuple[object, ...]]:
        return self.bed.client.rows(
            "SELECT toUnixTimestamp64Milli(ts), power_uw, energy_uj, "
            "toUnixTimestamp64Milli(start_ts), interval_ms, util_e4 FROM tick FINAL ORDER BY ts"
        )


@pytest.fixture
def station(bed: Bed) -> object:
    writer = bed.writer()
    yield Station(bed, writer)
    writer.close()


async def test_a_page_of_our_exporter_becomes_ticks(station: Station) -> None:
    async with serving(answering(page())) as url:
        await station.scrape(url, interval_seconds=15.0)
    assert station.ticks() == [(NOW_MS, 123_250_000, 10**15 + 1, NOW_MS - 7000, 15_000, 5000)]
    rows = station.bed.client.rows("SELECT key, kind, vendor, power_limit_watts FROM device FINAL")
    assert rows == [("d", "gpu", "NVIDIA", 700.0)]
    assert station.sample("ticks_total", receiver="scrape") == 1


async def test_a_page_may_be_compressed(station: Station) -> None:
    async with serving(answering(gzip.compress(page()), Content_Encoding="gzip")) as url:
        await station.scrape(url)
    assert len(station.ticks()) == 1


async def test_pushed_and_pulled_is_one_row(station: Station) -> None:
    tick = Tick("d", NOW_MS, 1000, Method.COUNTER, 123.25, 10**15 + 1, NOW_MS - 7000, 0.5)
    station.writer.submit(Batch(ticks=(tick,))).result(10)
    async with serving(answering(page())) as url:
        await station.scrape(url)
        await station.scrape(url)
    (row,) = station.ticks()
    assert row[:4] == (NOW_MS, 123_250_000, 10**15 + 1, NOW_MS - 7000)


async def test_without_a_time_of_reading_the_time_of_the_scrape_counts(station: Station) -> None:
    text = b'wattshed_power_watts{device="d"} 5\n'
    before = int(time.time() * 1000)
    async with serving(answering(text)) as url:
        await station.scrape(url)
    ((ts, power, *_),) = station.ticks()
    assert power == 5_000_000
    assert isinstance(ts, int)
    assert before <= ts <= int(time.time() * 1000)


async def test_what_is_not_ours_is_counted_and_what_is_good_is_kept(station: Station) -> None:
    text = (
        b"my_watts 5\nnode_cpu_seconds_total 5\nprocess_cpu_seconds_total 1\n"
        b"wattshed_build_info 1\n"
        b'wattshed_power_watts{device="d"} 5\nwattshed_power_watts{device="e"} NaN\n'
        b'wattshed_power_watts{device="f"} -1\n'
        b'wattshed_reading_timestamp_seconds{device="g"} +Inf\nwattshed_power_watts{device="g"} 1\n'
    )
    async with serving(answering(text)) as url:
        await station.scrape(url)
    assert [row[1] for row in station.ticks()] == [5_000_000]
    for reason in ("unknown_metric", "not_finite", "negative", "no_timestamp"):
        assert station.sample("rejected_total", receiver="scrape", reason=reason) == 1, reason


@pytest.mark.parametrize(
    "text",
    [
        b"<!doctype html>\n<html><body>hello</body></html>\n",
        b"\xff\xfe",
        b'wattshed_power_watts{device="d" 5\n',
        b"wattshed_power_watts{} five\n",
    ],
)
async def test_what_is_no_exposition_is_refused(station: Station, text: bytes) -> None:
    async with serving(answering(text)) as url:
        with pytest.raises(InvalidInput, match="not a Prometheus exposition"):
            await station.scrape(url)
    assert station.ticks() == []


async def test_a_foreign_page_is_taken_and_its_machine_may_be_named(station: Station) -> None:
    text = b'nvidia_smi_power_draw_watts{uuid="00-1"} 70.5\nnode_load1 3\n'
    async with serving(answering(text)) as url:
        await station.scrape(f"gpu7={url}")
        await station.scrape(url)
    rows = station.bed.client.rows("SELECT key, node, source FROM device FINAL ORDER BY node")
    assert rows[-1] == ("GPU-00-1", "127.0.0.1", "nvidia_gpu_exporter")
    assert [row[1] for row in station.ticks()] == [70_500_000, 70_500_000]
    assert station.sample("ignored_total", receiver="scrape") == 2


async def test_the_machine_is_as_named(station: Station) -> None:
    text = b'DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1",Hostname="other"} 70.5\n'
    async with serving(answering(text)) as url:
        await station.scrape(f"gpu7={url}")
    assert station.bed.client.rows("SELECT node FROM device FINAL") == [("gpu7",)]


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_a_page_beyond_the_limit_is_refused(station: Station, encoding: str) -> None:
    body = page() + b"# padding\n" * 10_000
    headers = {"Content_Encoding": encoding} if encoding else {}
    packed = gzip.compress(body) if encoding else body
    async with serving(answering(packed, **headers)) as url:
        with pytest.raises(InvalidInput, match="beyond 50000 bytes"):
            await station.scrape(url, max_body_bytes=50_000)
    assert station.ticks() == []


async def test_bad_targets_leave_good_ones_alone(
    station: Station, caplog: pytest.LogCaptureFixture
) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async def broken(request: web.Request) -> web.Response:
        raise web.HTTPInternalServerError

    async with (
        serving(answering(page("good"))) as good,
        serving(slow) as late,
        serving(broken) as sick,
        serving(answering(b"<html>")) as html,
        serving(answering(page() * 1000)) as large,
    ):
        down, odd = "http://127.0.0.1:1/metrics", "http://[::bad/metrics"
        bad = (late, sick, html, large, down, odd)
        scraper = station.scraper(
            *bad, good, interval_seconds=0.3, timeout_seconds=0.2, max_body_bytes=100_000
        )
        task = asyncio.create_task(scraper.run())
        deadline = time.monotonic() + 20
        while any(
            station.sample("scrapes_total", target=t, result="ok" if t == good else "failed") < 2
            for t in (*bad, good)
        ):
            assert time.monotonic() < deadline
            assert not task.done()
            await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert station.sample("scrape_up", target=good) == 1
    for target in bad:
        assert station.sample("scrape_up", target=target) == 0
        assert station.sample("scrapes_total", target=target, result="ok") == 0
        said = [r for r in caplog.records if f"cannot scrape {target}" in r.getMessage()]
        assert said, target
    assert [row[1] for row in station.ticks()] == [123_250_000]


async def test_a_target_that_recovers_is_up_again(station: Station) -> None:
    answers = [web.HTTPServiceUnavailable(), None]

    async def sometimes(request: web.Request) -> web.StreamResponse:
        if answers and (error := answers.pop(0)):
            raise error
        return await answering(page())(request)

    async with serving(sometimes) as url:
        scraper = station.scraper(url, interval_seconds=0.1)
        task = asyncio.create_task(scraper.run())
        deadline = time.monotonic() + 10
        while not station.sample("scrape_up", target=url):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert station.sample("scrapes_total", target=url, result="failed") == 1
    assert len(station.ticks()) == 1
