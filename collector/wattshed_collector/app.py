"""The composition root: the only module that knows every concrete class of the collector."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web

from wattshed_exporter.trim import drop_file_pages

from . import address
from .api.facts import FactsApi
from .api.ledger import LedgerApi
from .api.routes import Api, errors
from .api.targets import TargetsApi
from .config import Config
from .ledger import Policy
from .ledger_job import LedgerJob
from .normalise.facts import Limits, Normaliser
from .normalise.foreign import SOURCES, Foreign
from .normalise.tenure import Tenure
from .receivers.documents import DocumentReceiver
from .receivers.history import HistoryReceiver
from .receivers.otlp import OtlpReceiver
from .receivers.remote_write import RemoteWriteReceiver
from .receivers.scrape import Scraper
from .receivers.scrape.pages import Pages
from .store import lease
from .store.client import Store
from .store.ledger_state import LEASE
from .store.migrate import Layout, migrate
from .store.read import Reader
from .store.tenures import recent_tenures
from .store.write import Writer
from .telemetry import Telemetry

log = logging.getLogger(__name__)

SETTLED_SECONDS = 30.0
"""Time after which the start, the first ledger runs and the first pages are behind us."""


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[str]:
    """Run a collector for the length of the block; gives its URL.

    Raises StoreError when the store cannot be used and OSError when the address is taken.
    """
    async with AsyncExitStack() as stack:
        store = Store(config.data)
        stack.callback(store.close)
        client = store.client()
        retention = config.retention
        migrate(client, Layout(raw_days=retention.raw_days, minute_days=retention.minute_days))
        tenure = Tenure()
        tenure.learn(recent_tenures(client, SOURCES))
        foreign = Foreign(tenure)
        client.close()
        telemetry = Telemetry()
        writer = Writer(
            store.client,
            window_seconds=config.ingest.group_seconds,
            queue_rows=config.ingest.queue_rows,
        )
        stack.callback(writer.close)
        job = _ledger(config, store, telemetry)
        stack.callback(job.close)
        reader = Reader(store.client)
        stack.callback(reader.close)
        limits = Limits(config.ingest.future_seconds, max(0, retention.raw_days - 1) * 86400.0)
        normaliser = Normaliser(limits)
        pages = Pages(normaliser, foreign)
        scraper = Scraper(writer, pages, telemetry, config.scrape)
        await stack.enter_async_context(_scraping(scraper))
        app = web.Application(middlewares=[errors])
        app.add_routes(Api(reader, writer, telemetry).routes())
        for receiver in (OtlpReceiver, RemoteWriteReceiver):
            parts = writer, normaliser, foreign, telemetry, config.ingest
            app.add_routes(receiver(*parts).routes())
        app.add_routes(HistoryReceiver(reader, writer, config.ingest).routes())
        app.add_routes(LedgerApi(reader, job).routes())
        app.add_routes(FactsApi(reader).routes())
        app.add_routes(TargetsApi(scraper.status).routes())
        documents = DocumentReceiver(
            writer, reader, telemetry, config.ingest, limits.oldest_seconds
        )
        app.add_routes(documents.routes())
        url = await stack.enter_async_context(_served(app, config.listen))
        if not store.is_server:
            stack.enter_context(address.announced(Path(store.target), url))
        yield url


def _ledger(config: Config, store: Store, telemetry: Telemetry) -> LedgerJob:
    told = config.ledger
    policy = Policy(
        told.idle_below_ratio,
        config.retention.raw_days,
        told.idle_policy,
        told.host_remainder,
        config.topology.parents(),
    )
    return LedgerJob(
        store.client,
        policy,
        telemetry,
        told.interval_seconds,
        lambda client: lease.candidate(store, client, LEASE),
    )


async def serve(config: Config) -> None:
    """Run until SIGINT or SIGTERM."""
    _allow_connections()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(config) as url:
        log.info("collector at %s, data in %s", url, config.data)
        loop.call_later(SETTLED_SECONDS, lambda: loop.run_in_executor(None, drop_file_pages))
        await stop.wait()
    log.info("collector stopped")


def _allow_connections() -> None:
    """Take as many open files as we may have: each target keeps a connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@asynccontextmanager
async def _served(app: web.Application, listen: str) -> AsyncIterator[str]:
    host, _, port = listen.rpartition(":")
    # Bodies stay as sent: our own decompression has a limit, aiohttp's has none.
    runner = web.AppRunner(app, auto_decompress=False, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host.strip("[]"), int(port))
        await site.start()
        name = runner.addresses[0]
        shown = f"[{name[0]}]" if ":" in name[0] else name[0]
        yield f"http://{shown}:{name[1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _scraping(scraper: Scraper) -> AsyncIterator[None]:
    task = asyncio.create_task(scraper.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
