"""The composition root: the only module that knows every concrete class of the collector."""

from __future__ import annotations

import asyncio
import logging
import math
import resource
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from aiohttp import web

from wattshed_exporter.trim import drop_file_pages

from . import address, place
from .api.backup import BackupApi
from .api.facts import FactsApi
from .api.fleet import FleetApi
from .api.ledger import LedgerApi
from .api.routes import Api, errors
from .api.samples import SamplesApi
from .api.targets import TargetsApi
from .config import Config, Durability
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
from .receivers.remote_write import RemoteWriteDecoder, RemoteWriteReceiver
from .receivers.scrape import Scraper
from .receivers.scrape.pages import Pages
from .store import lease, memory, shards
from .store.budget import Budget, always_open
from .store.client import Store
from .store.disk import DiskWatch
from .store.layout import Layout
from .store.ledger_state import LEASE
from .store.read import Reader
from .store.server import hidden
from .store.spool import Spool
from .store.spooling import Spooling
from .store.tenures import recent_tenures
from .store.write import Writer
from .telemetry import Telemetry

log = logging.getLogger(__name__)

SETTLED_SECONDS = 30.0
"""Time after which the start, the first ledger runs and the first pages are behind us."""
DECODING_THREADS = 4
"""Bodies that are unpacked at once; more would take memory and no less time."""

DROP_SECONDS = 120.0
"""Time in which the ledger must have found the time to drop old readings, or it is tried again."""
LATE_SECONDS = 3600.0
"""How far the clocks of a cluster's nodes may be apart, and a replica may lag, beside the longest
statement: marks of that time are counted, which costs a few milliseconds a run."""


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[str]:
    """Run a collector for the length of the block; gives its URL.

    Raises StoreError when the store cannot be used and OSError when the address is taken.
    """
    async with AsyncExitStack() as stack:
        store = place.store(config)
        stack.callback(store.close)
        # Before the engine opens the folder: it may need the room that the ballast takes.
        disk = _watched(config.durability, store)
        budget = Budget(config.durability.queue_bytes, closed=disk.refusal if disk else always_open)
        layout = place.layout(config, store)
        place.ready(config, store, layout, log.warning)
        client = store.client()
        retention = config.retention
        tenure = Tenure()
        tenure.learn(recent_tenures(client, SOURCES))
        foreign = Foreign(tenure)
        client.close()
        telemetry = Telemetry()
        spooling = _spooling(config.durability, store)
        if spooling:
            stack.callback(spooling.close)
        writer = Writer(
            store.client,
            sink=spooling,
            window_seconds=config.ingest.group_seconds,
            longest_seconds=config.ingest.group_longest_seconds,
            queue_rows=config.ingest.queue_rows,
            budget=budget,
        )
        stack.callback(writer.close)
        job = _ledger(config, store, layout, telemetry)
        stack.callback(job.close)
        if disk:
            if config.durability.drop_oldest:
                disk.drops_by(_dropping(job, config.durability.keep_days))
            stack.callback(disk.close)
            disk.start()
        _follow(telemetry, budget, disk, spooling, place.engine_bytes(config))
        reader = Reader(partial(store.client, only_reads=True))
        stack.callback(reader.close)
        clerk = Reader(store.client)
        stack.callback(clerk.close)
        limits = Limits(config.ingest.future_seconds, max(0, retention.raw_days - 1) * 86400.0)
        normaliser = Normaliser(limits)
        pages = Pages(normaliser, foreign)
        scraper = Scraper(writer, pages, telemetry, config.scrape)
        await stack.enter_async_context(_scraping(scraper))
        app = web.Application(middlewares=[errors])
        app.add_routes(Api(reader, writer, telemetry, budget).routes())
        app.add_routes(LedgerApi(reader, job).routes())
        if not store.is_server:
            app.add_routes(BackupApi(job, config.durability.backup_folder).routes())
        app.add_routes(FactsApi(reader).routes())
        app.add_routes(FleetApi(reader).routes())
        app.add_routes(SamplesApi(reader).routes())
        threads = ThreadPoolExecutor(DECODING_THREADS, thread_name_prefix="decoding")
        stack.callback(threads.shutdown)
        means = Means(writer, telemetry, config.ingest, _dead_letters(config), threads, budget)
        app.add_routes(_otlp(config, Intake("otlp", means), normaliser, foreign, limits).routes())
        decoder = _remote_write(config, normaliser, foreign, limits, telemetry)
        remote_write = RemoteWriteReceiver(Intake("remote_write", means), decoder)
        app.add_routes(remote_write.routes())
        app.add_routes(HistoryReceiver(Intake("history", means), clerk).routes())
        documents = DocumentReceiver(Intake("json", means), clerk, limits.oldest_seconds)
        app.add_routes(TargetsApi(scraper.status).routes())
        app.add_routes(documents.routes())
        url = await stack.enter_async_context(_served(app, config.listen))
        if not store.is_server:
            stack.enter_context(address.announced(Path(store.target), url))
        yield url


def _watched(told: Durability, store: Store) -> DiskWatch | None:
    if store.is_server:
        return None
    return DiskWatch(Path(store.target), told.disk_free_bytes, told.ballast_bytes)


def _spooling(told: Durability, store: Store) -> Spooling | None:
    if not store.is_server or told.spool_folder is None:
        return None
    return Spooling(store.client, Spool(told.spool_folder, told.spool_bytes))


def _dropping(job: LedgerJob, keep_days: int) -> Callable[[], str]:
    return lambda: job.ask(lambda ledger: ledger.drop_oldest(keep_days)).result(DROP_SECONDS)


def _follow(
    telemetry: Telemetry,
    budget: Budget,
    disk: DiskWatch | None,
    spooling: Spooling | None,
    engine_bytes: int,
) -> None:
    """Have the gauges of what waits and of what is left say what it is when they are read."""
    telemetry.set("engine_memory_limit_bytes", engine_bytes)
    telemetry.set("memory_limit_bytes", memory.limit_bytes() or math.nan)
    telemetry.set("queue_limit_bytes", budget.limit_bytes)
    telemetry.follow("queued_bytes", lambda: budget.used_bytes)
    telemetry.follow("turned_away", lambda: budget.refused)
    if disk:
        telemetry.follow("disk_free_bytes", lambda: disk.level.free_bytes)
        telemetry.follow("disk_days_left", lambda: disk.level.days_left)
        telemetry.follow("disk_full", lambda: disk.level.is_full)
    if spooling:
        spool, counters = spooling.spool, spooling.counters
        telemetry.follow("spool_bytes", lambda: spool.level().size_bytes)
        telemetry.follow("spool_rows", lambda: spool.level().rows)
        telemetry.follow("spool_oldest_seconds", spool.oldest_seconds)
        telemetry.follow("spool_aside", lambda: spool.level().aside)
        telemetry.follow("spooled_rows", lambda: counters.spooled_rows)


def _otlp(
    config: Config, intake: Intake, normaliser: Normaliser, foreign: Foreign, limits: Limits
) -> OtlpReceiver:
    kept = config.other_metrics
    others = Others(kept.otlp, kept.max_series, limits)
    protobuf = ProtobufDecoder(normaliser, foreign, others, intake.telemetry)
    return OtlpReceiver(intake, protobuf, JsonDecoder(protobuf, config.ingest.max_json_bytes))


def _remote_write(
    config: Config,
    normaliser: Normaliser,
    foreign: Foreign,
    limits: Limits,
    telemetry: Telemetry,
) -> RemoteWriteDecoder:
    kept = config.other_metrics
    others = Others(kept.prometheus, kept.max_series, limits)
    interval_seconds = config.ingest.remote_write_interval_seconds
    return RemoteWriteDecoder(normaliser, foreign, others, telemetry, interval_seconds)


def _dead_letters(config: Config) -> DeadLetters | None:
    told = config.dead_letters
    folder = told.where(config.data)
    return DeadLetters(folder, told.max_bytes, told.max_letters) if folder is not None else None


def _ledger(config: Config, store: Store, layout: Layout, telemetry: Telemetry) -> LedgerJob:
    told = config.ledger
    policy = Policy(
        told.idle_below_ratio,
        config.retention.raw_days,
        told.idle_policy,
        told.host_remainder,
        config.topology.parents(),
    )
    return LedgerJob(
        lambda: shards.opened(store, layout),
        policy,
        telemetry,
        told.interval_seconds,
        lambda client: lease.candidate(store, client, LEASE),
        late_seconds=LATE_SECONDS + config.store.query_seconds if store.is_server else 0.0,
    )


async def serve(config: Config) -> None:
    """Run until SIGINT or SIGTERM."""
    _allow_connections()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with running(config) as url:
        # Not before: whoever waits for its store may be ended as any program.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        log.info("collector at %s, data in %s", url, hidden(config.data))
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
