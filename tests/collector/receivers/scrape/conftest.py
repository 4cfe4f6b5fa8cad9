"""A scraper with a real store behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector.config import NAMED_ALONE, Scrape
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.receivers.scrape import Scraper
from wattshed_collector.receivers.scrape.pages import Pages
from wattshed_collector.receivers.scrape.targets import alone
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry

if TYPE_CHECKING:
    from tests.collector.conftest import Bed


class Station:
    """Makes scrapers, and says what came of them."""

    def __init__(self, bed: Bed, writer: Writer) -> None:
        self.bed = bed
        self.telemetry = Telemetry()
        self.writer = writer
        self.pages = Pages(Normaliser(Limits()), Foreign())

    def scraper(self, *targets: str, **how: Any) -> Scraper:
        options = Scrape(targets=targets, **how)
        return Scraper(self.writer, self.pages, self.telemetry, options)

    async def scrape(self, target: str, **how: Any) -> None:
        """Scrape a target once."""
        options = Scrape(**{"timeout_seconds": 1.0, **how})
        (job, *_) = options.every_job()
        assert job.name == NAMED_ALONE
        scraper = Scraper(self.writer, self.pages, self.telemetry, options)
        await scraper.scrape(alone(target, job))

    def sample(self, name: str, **labels: str) -> float | None:
        return self.telemetry.registry.get_sample_value(f"wattshed_collector_{name}", labels)

    def ticks(self) -> list[tuple[object, ...]]:
        return self.bed.client.rows(
            "SELECT toUnixTimestamp64Milli(ts), power_uw, energy_uj, "
            "toUnixTimestamp64Milli(start_ts), interval_ms, util_e4 FROM tick FINAL ORDER BY ts"
        )


@pytest.fixture
def station(bed: Bed) -> Iterator[Station]:
    writer = bed.writer()
    yield Station(bed, writer)
    writer.close()


@asynccontextmanager
async def running(scraper: Scraper) -> AsyncIterator[None]:
    """Run a scraper for the length of the block."""
    task = asyncio.create_task(scraper.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until(done: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not done():  # noqa: ASYNC110 (no event tells it)
            await asyncio.sleep(0.01)


@pytest.fixture
def run() -> Callable[[Scraper], Any]:
    return running


@pytest.fixture
def wait() -> Callable[..., Any]:
    return until
