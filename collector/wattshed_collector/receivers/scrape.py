"""Scrape static targets: one task each, spread over the interval, none in another's way.

A page may be our exporter's, of any other that ``normalise.foreign`` knows, or of several.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from urllib.parse import urlsplit

import aiohttp

from wattshed_collector.config import Scrape, named_target
from wattshed_collector.errors import InvalidInput, StoreError
from wattshed_collector.normalise.dialect import Origin, Series
from wattshed_collector.normalise.facts import Normaliser
from wattshed_collector.normalise.foreign import BY_METRIC, Foreign
from wattshed_collector.normalise.samples import samples
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

log = logging.getLogger(__name__)

RECEIVER = "scrape"
ACCEPT = "text/plain;version=0.0.4"


class _Target:
    """What is remembered of a target between two scrapes."""

    def __init__(self, target: str, options: Scrape) -> None:
        node, self.url = named_target(target)
        self.origin = Origin(
            urlsplit(self.url).netloc.rpartition("@")[2],
            node,
            options.cluster,
            interval_ms=round(options.interval_seconds * 1000),
        )
        self.known: dict[str, Series] = {}


class Scraper:
    """Pulls every target each ``interval_seconds`` until its task is cancelled."""

    def __init__(
        self,
        writer: Writer,
        normaliser: Normaliser,
        foreign: Foreign,
        telemetry: Telemetry,
        options: Scrape,
    ) -> None:
        self._writer = writer
        self._normaliser = normaliser
        self._foreign = foreign
        self._telemetry = telemetry
        self._options = options
        self._targets: dict[str, _Target] = {}

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=self._options.timeout_seconds)
        headers = {"Accept": ACCEPT}
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            asyncio.TaskGroup() as tasks,
        ):
            for target in self._options.targets:
                tasks.create_task(self._follow(session, target))

    async def _follow(self, session: aiohttp.ClientSession, target: str) -> None:
        interval = self._options.interval_seconds
        due = time.monotonic() + random.uniform(0, min(interval, 1.0))
        up: bool | None = None
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + interval, time.monotonic())
            try:
                await self.scrape(session, target)
            except (aiohttp.ClientError, TimeoutError, InvalidInput, StoreError) as error:
                self._result(target, ok=False)
                if up is not False:
                    log.warning("cannot scrape %s: %s", target, error or type(error).__name__)
                up = False
            except Exception:  # one target must not end the scraping of the others
                self._result(target, ok=False)
                log.exception("cannot scrape %s", target)
                up = False
            else:
                self._result(target, ok=True)
                up = True

    async def scrape(self, session: aiohttp.ClientSession, target: str) -> None:
        """Scrape once. Raises InvalidInput where the page is too large or not an exposition."""
        scraped_ms = int(time.time() * 1000)
        of = self._targets.get(target)
        if of is None:
            of = self._targets[target] = _Target(target, self._options)
        async with session.get(of.url) as response:
            response.raise_for_status()
            page = await response.content.read(self._options.max_body_bytes + 1)
            while not response.content.at_eof() and len(page) <= self._options.max_body_bytes:
                page += await response.content.read(self._options.max_body_bytes + 1 - len(page))
        if len(page) > self._options.max_body_bytes:
            raise InvalidInput(f"the page is beyond {self._options.max_body_bytes} bytes", "size")
        batch = await asyncio.to_thread(self._parse, page, scraped_ms, of)
        if batch:
            await asyncio.wrap_future(self._writer.submit(batch))
            self._telemetry.durable(RECEIVER, batch, time.time())
        self._telemetry.reject(RECEIVER, batch.rejected)
        self._telemetry.quarantine(RECEIVER, batch)

    def _parse(self, page: bytes, scraped_ms: int, of: _Target) -> Batch:
        rejected: Counter[str] = Counter()
        try:
            said = samples(page.decode(), scraped_ms, of.known, BY_METRIC)
        except ValueError as error:
            raise InvalidInput(f"not a Prometheus exposition: {error}", "malformed") from error
        found, ignored = self._foreign.points(said, of.origin, rejected)
        self._telemetry.count("ignored_total", ignored, receiver=RECEIVER)
        return self._normaliser.batch(found, rejected)

    def _result(self, target: str, *, ok: bool) -> None:
        self._telemetry.count("scrapes_total", target=target, result="ok" if ok else "failed")
        self._telemetry.set("scrape_up", float(ok), target=target)
