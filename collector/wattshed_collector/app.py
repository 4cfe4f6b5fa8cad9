"""The composition root: the only module that knows every concrete class of the collector."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web

from wattshed_exporter.trim import drop_file_pages

from . import address
from .api.facts import FactsApi
from .api.ledger import LedgerApi
from .api.routes import Api, errors
from .api.samples import SamplesApi
from .api.targets import TargetsApi
from .config import Config
from .ledger import Policy
from .ledger_job import LedgerJob
from .normalise.facts import Limits, Normaliser
from .normalise.foreign import SOURCES, Foreign
from .normalise.tenure import Tenure
from .receivers.dead_letters import DeadLetters
from .receivers.documents import DocumentReceiver
from .receivers.history import HistoryReceiver
from .receivers.intake import Intake, Means
from .receivers.others import Others
from .receivers.otlp import OtlpReceiver
from .receivers.otlp_decoding import JsonDecoder, ProtobufDecoder
from .receivers.otlp_layout import LayoutDecoder
from .receivers.remote_write import RemoteWriteReceiver
from .receivers.scrape import Scraper
from .receivers.scrape.known_pages import KnownPages
from .receivers.scrape.pages import Pages
from .store import lease
from .store.budget import Budget
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
DECODING_THREADS = 4
"""Bodies that are unpacked at once; more would take memory and no less time."""


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
        budget = Budget(config.durability.queue_bytes)
        writer = Writer(
            store.client,
            window_seconds=config.ingest.group_seconds,
            longest_seconds=config.ingest.group_longest_seconds,
            queue_rows=config.ingest.queue_rows,
            budget=budget,
        )
        stack.callback(writer.close)
        job = _ledger(config, store, telemetry)
        stack.callback(job.close)
        reader = Reader(store.client)
        stack.callback(reader.close)
        limits = Limits(config.ingest.future_seconds, max(0, retention.raw_days - 1) * 86400.0)
        normaliser = Normaliser(limits)
        pages = KnownPages(Pages(normaliser, foreign), normaliser, foreign)
        scraper = Scraper(writer, pages, telemetry, config.scrape)
        await stack.enter_async_context(_scraping(scraper))
        app = web.Application(middlewares=[errors])
        app.add_routes(Api(reader, writer, telemetry).routes())
        app.add_routes(LedgerApi(reader, job).routes())
        app.add_routes(FactsApi(reader).routes())
        app.add_routes(SamplesApi(reader).routes())
        threads = ThreadPoolExecutor(DECODING_THREADS, thread_name_prefix="decoding")
        stack.callback(threads.shutdown)
        means = Means(writer, telemetry, config.ingest, _dead_letters(config), threads, budget)
        app.add_routes(_otlp(config, Intake("otlp", means), normaliser, foreign, limits).routes())
        kept = config.other_metrics
        others = Others(kept.prometheus, kept.max_series, limits)
        intake = Intake("remote_write", means)
        app.add_routes(RemoteWriteReceiver(intake, normaliser, foreign, others).routes())
        app.add_routes(HistoryReceiver(Intake("history", means), reader).routes())
        documents = DocumentReceiver(Intake("json", means), reader, limits.oldest_seconds)
        app.add_routes(TargetsApi(scraper.status).routes())
        app.add_routes(documents.routes())
        url = await stack.enter_async_context(_served(app, config.listen))
        if not store.is_server:
            stack.enter_context(address.announced(Path(store.target), url))
        yield url


def _otlp(
    config: Config, intake: Intake, normaliser: Normaliser, foreign: Foreign, limits: Limits
) -> OtlpReceiver:
    kept = config.other_metrics
    others = Others(kept.otlp, kept.max_series, limits)
    protobuf = ProtobufDecoder(normaliser, foreign, others, intake.telemetry)
    layouts = LayoutDecoder(normaliser, foreign, protobuf, intake.telemetry)
    return OtlpReceiver(intake, layouts, JsonDecoder(protobuf, config.ingest.max_json_bytes))


def _dead_letters(config: Config) -> DeadLetters | None:
    told = config.dead_letters
    folder = told.where(config.data)
    return DeadLetters(folder, told.max_bytes, told.max_letters) if folder is not None else None


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
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(config) as url:
        log.info("collector at %s, data in %s", url, config.data)
        loop.call_later(SETTLED_SECONDS, lambda: loop.run_in_executor(None, drop_file_pages))
        await stop.wait()
    log.info("collector stopped")


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
