"""The composition root: the only module that knows every concrete class of the collector."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import resource
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from wattshed_dashboards import files
from wattshed_dashboards.boards import BOARDS
from wattshed_exporter.trim import drop_file_pages

from . import address, alert_watch, grid_asks, place, served
from .advice_book import AdviceJob
from .api import doing, hardware
from .api.access import Access, unexpected
from .api.backup import BackupApi
from .api.board_pages import BoardPages
from .api.boards import BoardsApi
from .api.clickhouse import ClickHouseApi
from .api.described import DocumentApi
from .api.expected_idle import ExpectedIdleApi
from .api.facts import FactsApi
from .api.fleet import FleetApi
from .api.ledger import LedgerApi
from .api.outcomes import OutcomesApi
from .api.patience import Patience
from .api.quality import QualityApi
from .api.routes import Api, errors
from .api.samples import SamplesApi
from .api.showback import ShowbackApi
from .api.slo import SloApi
from .api.targets import TargetsApi
from .api.traced import traced
from .boards import Boards
from .clickhouse.desk import Desk
from .config import Config, Durability
from .config.security import is_loopback
from .front.door import Door
from .grid.asking import Asking
from .grid_watch import GridWatch
from .ledger import Policy
from .ledger_job import LedgerJob
from .lifecycle_watch import LifecycleWatch
from .normalise.facts import Limits, Normaliser
from .normalise.foreign import SOURCES, Foreign
from .normalise.produced import Produced
from .normalise.tenure import Tenure
from .numerics_watch import NumericsWatch
from .outcomes import own
from .outcomes.book import named
from .outcomes.owners import Owners, Whose
from .own_energy import OwnEnergy
from .receivers import body
from .receivers.dead_letters import DeadLetters
from .receivers.documents import DocumentReceiver
from .receivers.history import HistoryReceiver
from .receivers.intake import Intake, Means
from .receivers.known_others import KnownOthers
from .receivers.others import Others
from .receivers.otlp import OtlpReceiver
from .receivers.otlp_decoding import JsonDecoder, ProtobufDecoder
from .receivers.otlp_layout import LayoutDecoder
from .receivers.outcomes import OutcomeReceiver
from .receivers.remote_write import RemoteWriteDecoder, RemoteWriteReceiver
from .receivers.scrape import Scraper
from .receivers.scrape.known_pages import KnownPages
from .receivers.scrape.other_samples import OtherSamples
from .receivers.scrape.pages import Pages
from .receivers.turns import Turns
from .security.guard import Guard
from .security.tenancy import Tenancy
from .self_record import SelfRecord
from .self_report import SELF_HEADER, reporting
from .self_watch import SelfWatch
from .slo_metrics import Exposed
from .slo_watch import SloFileWatch, SloWatch
from .store import lease, memory, places, shards, working
from .store.budget import Budget, always_open
from .store.client import Client, Store
from .store.disk import DiskWatch
from .store.holders import recent_holders
from .store.latest import LATEST_SECONDS, find_again
from .store.layout import Layout
from .store.ledger_state import LEASE
from .store.now import Now
from .store.read import QueryLimits, Reader
from .store.server import hidden
from .store.spool import Spool
from .store.spooling import Spooling
from .store.tenures import recent_tenures
from .store.write import Writer
from .telemetry import Telemetry

log = logging.getLogger(__name__)

KEEPALIVE_SECONDS = 75.0
STOP_SECONDS = 1.0
"""That requests which are being answered have to end."""
BACKLOG = 128
CYCLES = 200_000, 20, 20
"""Objects more than before, after which cycles are looked for; see the gc module."""
SETTLED_SECONDS = 30.0
"""Time after which the start, the first ledger runs and the first pages are behind us."""
DECODING_THREADS = 4
"""Bodies that are unpacked at once; more would take memory and no less time."""
LATE_SECONDS = 3600.0
"""How far the clocks of a cluster's nodes may be apart, and a replica may lag, beside the longest
statement: marks of that time are counted, which costs a few milliseconds a run."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the receivers and the API work with. ``clerk`` sets what is sent against the store: that
    may be more than any answer is; ``reader`` answers, ``painter`` the many panels of boards."""

    config: Config
    store: Store
    telemetry: Telemetry
    budget: Budget
    writer: Writer
    job: LedgerJob
    reader: Reader
    painter: Reader
    clerk: Reader
    limits: Limits
    normaliser: Normaliser
    foreign: Foreign
    tenancy: Tenancy


@asynccontextmanager
async def running(
    config: Config, reload: asyncio.Event | None = None, timing: lease.Timing | None = None
) -> AsyncIterator[str]:
    """Run a collector for the length of the block; gives its URL.

    When ``reload`` is set, who may do what and the certificates are read anew. ``timing`` is that
    of the ledger's lease on a server. A server that is away is waited for.

    Raises StoreError when the store cannot be used and OSError when the address is taken.
    """
    async with AsyncExitStack() as stack:
        local_token = secrets.token_urlsafe(32)
        guard = Guard(config.security.file, config.security.tls(), local_token)
        report = stack.enter_context(reporting(config.telemetry))
        telemetry = Telemetry(report.span if report is not None else None)
        await place.await_server(config, log.warning)
        parts = stack.enter_context(_parts(config, telemetry, timing))
        known = parts.normaliser, parts.foreign
        kept = config.other_metrics
        others = OtherSamples(
            Others(kept.prometheus, kept.max_series, parts.limits), parts.foreign.produced.names
        )
        pages = KnownPages(Pages(*known, others), *known, others)
        met = partial(parts.tenancy.learn, moves=False)
        scraper = Scraper(parts.writer, pages, telemetry, config.scrape, met, others)
        await stack.enter_async_context(_beside(scraper.run()))
        patience = Patience(config.requests.head_seconds, config.requests.read_seconds, telemetry)
        gate = Access(guard, config.requests, telemetry, _hosts(config))
        app = _application(parts, gate, patience)
        app.add_routes(TargetsApi(scraper.status).routes())
        if config.clickhouse.enabled:
            desk = stack.enter_context(_desk(config, parts.store, telemetry))
            app.add_routes(ClickHouseApi(desk, body.unpacked).routes())
        threads = ThreadPoolExecutor(DECODING_THREADS, thread_name_prefix="decoding")
        stack.callback(threads.shutdown)
        otlp = _receive(app, parts, threads)
        if report is not None:
            report.mirror(telemetry)
        watch = SelfWatch(parts.clerk, OwnEnergy(os.uname().nodename), telemetry)
        await stack.enter_async_context(_beside(watch.keep()))
        if config.telemetry.record_seconds:
            record = _record(parts)
            await stack.enter_async_context(_beside(record.keep()))
        drifts = NumericsWatch(parts.clerk, config.quality, telemetry)
        await stack.enter_async_context(_beside(drifts.keep()))
        grid_asking = Asking()
        stack.push_async_callback(grid_asking.close)
        whom = grid_asks.asked(config.grid, grid_asking.get)
        grid = GridWatch(parts.clerk, config.grid, whom, telemetry)
        await stack.enter_async_context(_beside(grid.keep()))
        await stack.enter_async_context(_beside(AdviceJob(parts.clerk).keep()))
        figures = LifecycleWatch(parts.clerk, config.lifecycle)
        await stack.enter_async_context(_beside(figures.tell_once()))
        objectives = _objectives(parts)
        await stack.enter_async_context(_beside(objectives.keep()))
        alerts = alert_watch.AlertWatch(parts.clerk, telemetry, alert_watch.signals())
        telemetry.signals.register(alerts)
        await stack.enter_async_context(_beside(alerts.keep()))
        url = await stack.enter_async_context(
            _served(app, config, guard, patience, Ends(gate, otlp, telemetry))
        )
        await stack.enter_async_context(_beside(guard.keep_fresh(reload or asyncio.Event())))
        if not parts.store.is_server:
            token, certificate = local_token if guard.asks else "", config.security.cert_file
            target = Path(parts.store.target)
            stack.enter_context(address.announced(target, url, token, certificate))
        yield url


@contextmanager
def _parts(config: Config, telemetry: Telemetry, timing: lease.Timing | None) -> Iterator[Parts]:
    """Open the store and start what works on it; ended in the reverse order."""
    with ExitStack() as stack:
        store = place.store(config)
        stack.callback(store.close)
        # Before the engine opens the folder: it may need the room that the ballast takes.
        disk = _watched(config.durability, store)
        budget = Budget(config.durability.queue_bytes, closed=disk.refusal if disk else always_open)
        layout = place.layout(config, store)
        stack.enter_context(store.kept_open())
        if not store.is_server:
            place.ready(config, store, layout, log.warning)
        tenure = Tenure()
        client = store.client()
        find_again(client, time.time())
        working.find_again(client, time.time())
        tenure.learn(recent_tenures(client, SOURCES))
        produced = _produced(config, telemetry, client)
        heard = produced.owners.saw
        tenancy = Tenancy(places.places(client), places.clusters(client), heard)
        client.close()
        spooling = _spooling(config.durability, store)
        if spooling:
            stack.callback(spooling.close)
        writer = Writer(
            store.client,
            sink=spooling,
            window_seconds=config.ingest.group_seconds,
            longest_seconds=config.ingest.group_longest_seconds,
            latest_seconds=LATEST_SECONDS,
            queue_rows=config.ingest.queue_rows,
            budget=budget,
            around_commit=telemetry.commit,
            now=None if store.is_server else Now(),
        )
        stack.callback(writer.close)
        job = _ledger(config, store, layout, telemetry, timing)
        stack.callback(job.close)
        if disk:
            if config.durability.drop_oldest:
                disk.drops_by(partial(job.drop_oldest, config.durability.keep_days))
            stack.callback(disk.close)
            disk.start()
        _watch(telemetry, budget, disk, spooling, place.engine_bytes(config))
        asks = QueryLimits(config.requests.query_seconds, config.requests.answer_rows)
        reader = Reader(partial(store.client, only_reads=True), asks)
        stack.callback(reader.close)
        painter = Reader(partial(store.client, only_reads=True), asks)
        stack.callback(painter.close)
        clerk = Reader(store.client)
        stack.callback(clerk.close)
        oldest_seconds = max(0, config.retention.raw_days - 1) * 86400.0
        limits = Limits(config.ingest.future_seconds, oldest_seconds)
        normaliser, foreign = Normaliser(limits), Foreign(tenure, produced)
        yield Parts(
            config, store, telemetry, budget, writer, job, reader, painter, clerk, limits,
            normaliser, foreign, tenancy,
        )  # fmt: skip


def _application(parts: Parts, gate: Access, patience: Patience) -> web.Application:
    """Return the application with everything that answers."""
    config, telemetry, reader = parts.config, parts.telemetry, parts.reader
    app = web.Application(
        middlewares=[
            traced(telemetry, SELF_HEADER),
            gate.middleware,
            unexpected,
            patience.middleware,
            errors,
        ]
    )
    longest_seconds = config.requests.window_days * 86400
    api = Api(reader, parts.writer, telemetry, parts.budget, longest_seconds)
    app.add_routes(api.routes())
    app.add_routes(LedgerApi(reader, parts.job).routes())
    if not parts.store.is_server:
        app.add_routes(BackupApi(parts.job, config.durability.backup_folder).routes())
    app.add_routes(FactsApi(reader, longest_seconds).routes())
    app.add_routes(FleetApi(reader, longest_seconds, parts.writer.now).routes())
    app.add_routes(SamplesApi(reader, longest_seconds).routes())
    app.add_routes(QualityApi(reader, longest_seconds).routes())
    app.add_routes(SloApi(reader).routes())
    app.add_routes(ExpectedIdleApi(reader).routes())
    app.add_routes(doing.routes(reader, parts.clerk, body.unpacked, config.grid))
    app.add_routes(ShowbackApi(reader).routes())
    app.add_routes(OutcomesApi(reader, longest_seconds).routes())
    app.add_routes(hardware.routes(reader, parts.clerk, body.unpacked, longest_seconds))
    boards = Boards(BOARDS)
    app.add_routes(BoardsApi(parts.painter, boards, longest_seconds).routes())
    app.add_routes(BoardPages(boards, files.root() / "runbooks").routes())
    app.add_routes(DocumentApi(served.OPERATIONS).routes())
    return app


@contextmanager
def _desk(config: Config, store: Store, telemetry: Telemetry) -> Iterator[Desk | None]:
    """Give who answers queries at /clickhouse; None where the rows are on a server."""
    if store.is_server:
        yield None
        return
    told = config.clickhouse
    limits = told.limits(place.engine_bytes(config))
    desk = Desk(store.embedded, limits, told.concurrent, told.waiting)
    counted = desk.counters
    telemetry.watch("clickhouse_queries_total", counted.by_result)
    telemetry.watch("clickhouse_seconds_total", lambda: {(): counted.seconds})
    telemetry.watch("clickhouse_running", lambda: {(): desk.running})
    telemetry.watch("clickhouse_waiting", lambda: {(): desk.waiting})
    try:
        yield desk
    finally:
        desk.close()


def _receive(app: web.Application, parts: Parts, threads: ThreadPoolExecutor) -> OtlpReceiver:
    """Add everything that takes in, and return what takes OTLP."""
    config, telemetry = parts.config, parts.telemetry
    means = Means(
        parts.writer,
        telemetry,
        config.ingest,
        _dead_letters(config),
        threads,
        parts.budget,
        parts.tenancy,
        Turns(DECODING_THREADS),
    )
    otlp = _otlp(parts, Intake("otlp", means))
    app.add_routes(otlp.routes())
    kept = config.other_metrics
    decoder = RemoteWriteDecoder(
        parts.normaliser,
        parts.foreign,
        Others(kept.prometheus, kept.max_series, parts.limits),
        telemetry,
        config.ingest.remote_write_interval_seconds,
    )
    app.add_routes(RemoteWriteReceiver(Intake("remote_write", means), decoder).routes())
    app.add_routes(HistoryReceiver(Intake("history", means), parts.clerk).routes())
    ages = parts.limits.oldest_seconds, parts.limits.future_seconds
    documents = DocumentReceiver(Intake("json", means), parts.clerk, *ages)
    app.add_routes(documents.routes())
    app.add_routes(OutcomeReceiver(Intake("outcomes", means), parts.limits).routes())
    return otlp


def _otlp(parts: Parts, intake: Intake) -> OtlpReceiver:
    kept = parts.config.other_metrics
    others = Others(kept.otlp, kept.max_series, parts.limits)
    protobuf = ProtobufDecoder(parts.normaliser, parts.foreign, others, intake.telemetry)
    counters = parts.foreign.produced.counters
    known = KnownOthers(protobuf, others, counters, intake.telemetry)
    layouts = LayoutDecoder(parts.normaliser, parts.foreign, known, intake.telemetry)
    return OtlpReceiver(intake, layouts, JsonDecoder(protobuf, parts.config.ingest.max_json_bytes))


def _produced(config: Config, telemetry: Telemetry, client: Client) -> Produced:
    """Return what turns counters into outcomes, with the workloads that are known."""
    told, owners = config.outcomes, Owners()
    holders = recent_holders(client)
    owners.learn((workload for workload, _ in holders), {w.key: ms for w, ms in holders})
    produced = Produced(
        named(told.forwarded, own.servers(told.rules)),
        owners,
        Whose(template=told.workload),
        map(own.book_of, config.scrape.every_job()),
    )
    telemetry.watch("outcome_caveats_total", produced.caveats_by_server)
    return produced


def _dead_letters(config: Config) -> DeadLetters | None:
    told = config.dead_letters
    folder = told.where(config.data)
    return DeadLetters(folder, told.max_bytes, told.max_letters) if folder is not None else None


def _watched(told: Durability, store: Store) -> DiskWatch | None:
    if store.is_server:
        return None
    return DiskWatch(Path(store.target), told.disk_free_bytes, told.ballast_bytes)


def _spooling(told: Durability, store: Store) -> Spooling | None:
    if not store.is_server or told.spool_folder is None:
        return None
    return Spooling(store.client, Spool(told.spool_folder, told.spool_bytes))


def _watch(
    telemetry: Telemetry,
    budget: Budget,
    disk: DiskWatch | None,
    spooling: Spooling | None,
    engine_bytes: int,
) -> None:
    """Have the gauges of what waits and of what is left say what it is when they are read."""
    telemetry.set("engine_memory_limit_bytes", engine_bytes)
    telemetry.set("memory_limit_bytes", memory.limit_bytes() or math.nan)
    telemetry.watch("queue_limit_bytes", lambda: {(): budget.limit_bytes})
    telemetry.watch("queued_bytes", lambda: {(): budget.used_bytes})
    telemetry.watch("turned_away", lambda: {(): budget.refused})
    if disk:
        telemetry.watch("disk_free_bytes", lambda: {(): disk.level.free_bytes})
        telemetry.watch("disk_days_left", lambda: {(): disk.level.days_left})
        telemetry.watch("disk_full", lambda: {(): disk.level.is_full})
    if spooling:
        spool, counters = spooling.spool, spooling.counters
        telemetry.watch("spool_bytes", lambda: {(): spool.level().size_bytes})
        telemetry.watch("spool_rows", lambda: {(): spool.level().rows})
        telemetry.watch("spool_oldest_seconds", lambda: {(): spool.oldest_seconds()})
        telemetry.watch("spool_aside", lambda: {(): spool.level().aside})
        telemetry.watch("spooled_rows", lambda: {(): counters.spooled_rows})


def _ledger(
    config: Config,
    store: Store,
    layout: Layout,
    telemetry: Telemetry,
    timing: lease.Timing | None,
) -> LedgerJob:
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
        lambda client: lease.candidate(store, client, LEASE, timing),
        late_seconds=LATE_SECONDS + config.store.query_seconds if store.is_server else 0.0,
        enabled=told.enabled,
    )


def _objectives(parts: Parts) -> SloWatch:
    exposed = Exposed()
    parts.telemetry.registry.register(exposed)
    file = SloFileWatch(parts.config.slo.file, parts.telemetry)
    return SloWatch(parts.clerk, file, exposed)


def _record(parts: Parts) -> SelfRecord:
    told = parts.config
    instance = f"{os.uname().nodename}:{told.listen.rpartition(':')[2]}"
    return SelfRecord(parts.telemetry, parts.writer, instance, told.telemetry.record_seconds)


def _hosts(config: Config) -> Collection[str] | None:
    """Return the names by which a collector that asks for nothing may be called, None: any.

    A page on the Internet may give its own name this machine's address, and ask in the name of
    whoever looks at it.
    """
    host = config.listen.rpartition(":")[0].strip("[]").lower()
    if config.security.file is not None or not is_loopback(host):
        return None
    return {host, *(name.lower() for name in config.security.hosts)}


def event_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop: uvloop's, which needs less CPU, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def serve(config: Config) -> None:
    """Run until SIGINT or SIGTERM; SIGHUP reads anew who may do what."""
    _allow_connections()
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    async with running(config, reload) as url:
        # Not before: whoever waits for its store may be ended as any program.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        log.info("collector at %s, data in %s", url, hidden(config.data))
        _calm_garbage()
        loop.call_later(SETTLED_SECONDS, lambda: loop.run_in_executor(None, drop_file_pages))
        await stop.wait()
    log.info("collector stopped")


def _calm_garbage() -> None:
    """Look for cycles less often, and not among what the start made: a thousand requests that
    wait are no garbage, and each look went through all of them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*CYCLES)


def _allow_connections() -> None:
    """Take as many open files as we may have: each target keeps a connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@dataclass(frozen=True, slots=True)
class Ends:
    """What the lane has of the application: who may, and what takes OTLP."""

    gate: Access
    otlp: OtlpReceiver
    telemetry: Telemetry


@asynccontextmanager
async def _served(
    app: web.Application, config: Config, guard: Guard, patience: Patience, ends: Ends
) -> AsyncIterator[str]:
    host, _, port = config.listen.rpartition(":")
    # Bodies stay as sent: our own decompression has a limit, aiohttp's has none.
    runner = web.AppRunner(
        app,
        auto_decompress=False,
        access_log=None,
        shutdown_timeout=STOP_SECONDS,
        keepalive_timeout=KEEPALIVE_SECONDS,
    )
    await runner.setup()
    server = runner.server
    assert server is not None
    door = _door(config, server, patience, ends)
    # Spans are aiohttp's: the lane has no place for them.
    first = server if ends.telemetry.traces else door
    listener: asyncio.Server | None = None
    try:
        context = guard.listener()
        listener = await asyncio.get_running_loop().create_server(
            first, host.strip("[]"), int(port), ssl=context, backlog=BACKLOG
        )
        name = listener.sockets[0].getsockname()
        shown = f"[{name[0]}]" if ":" in name[0] else name[0]
        looks = partial(patience.sweep, server), door.sweep
        async with _beside(patience.keep(*looks)):
            yield f"{'http' if context is None else 'https'}://{shown}:{name[1]}"
    finally:
        if listener is not None:
            listener.close()
        await door.close(STOP_SECONDS)
        await runner.cleanup()


def _door(config: Config, server: web.Server, patience: Patience, ends: Ends) -> Door:
    return Door(
        ends.gate,
        ends.otlp,
        server,
        most_bytes=config.ingest.max_body_bytes,
        head_seconds=config.requests.head_seconds,
        read_seconds=config.requests.read_seconds,
        idle_seconds=KEEPALIVE_SECONDS,
        hang_up=patience.hang_up,
    )


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have ``work`` done until the block ends; that it ends before is logged."""
    task = asyncio.create_task(work)
    task.add_done_callback(_ended)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("%s ended unexpectedly", task.get_coro(), exc_info=error)
