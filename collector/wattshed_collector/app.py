"""The composition root: the only module that knows every concrete class of the collector."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from wattshed_exporter.trim import drop_file_pages

from . import address
from .api.access import Access, unexpected
from .api.facts import FactsApi
from .api.ledger import LedgerApi
from .api.patience import Patience
from .api.routes import Api, errors
from .api.traced import traced
from .config import Config
from .config.security import is_loopback
from .ledger import Policy
from .ledger_job import LedgerJob
from .normalise.facts import Limits, Normaliser
from .normalise.foreign import SOURCES, Foreign
from .normalise.tenure import Tenure
from .own_energy import OwnEnergy
from .receivers.documents import DocumentReceiver
from .receivers.history import HistoryReceiver
from .receivers.otlp import OtlpReceiver
from .receivers.remote_write import RemoteWriteReceiver
from .receivers.scrape import Scraper
from .redact import redacted
from .security.guard import Guard
from .security.keys import TENANCY
from .security.tenancy import Tenancy
from .self_report import SELF_HEADER, reporting
from .self_watch import SelfWatch
from .store import lease, places
from .store.client import Store
from .store.ledger_state import LEASE
from .store.migrate import Layout, migrate
from .store.read import QueryLimits, Reader
from .store.tenures import recent_tenures
from .store.write import Writer
from .telemetry import Telemetry

log = logging.getLogger(__name__)

KEEPALIVE_SECONDS = 75.0
SETTLED_SECONDS = 30.0
"""Time after which the start, the first ledger runs and the first pages are behind us."""


@asynccontextmanager
async def running(config: Config, reload: asyncio.Event | None = None) -> AsyncIterator[str]:
    """Run a collector for the length of the block; gives its URL.

    When ``reload`` is set, who may do what and the certificates are read anew.

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
        local_token = secrets.token_urlsafe(32)
        guard = Guard(config.security.file, config.security.tls(), local_token)
        tenancy = Tenancy(places.places(client), places.clusters(client))
        client.close()
        report = stack.enter_context(reporting(config.telemetry))
        telemetry = Telemetry(report.span if report is not None else None)
        writer = Writer(
            store.client,
            window_seconds=config.ingest.group_seconds,
            queue_rows=config.ingest.queue_rows,
            around_commit=telemetry.commit,
        )
        stack.callback(writer.close)
        job = _ledger(config, store, telemetry)
        stack.callback(job.close)
        asks = config.requests
        reader = Reader(store.client, QueryLimits(asks.query_seconds, asks.answer_rows))
        stack.callback(reader.close)
        clerk = Reader(store.client)
        """Sets what is sent against the store: that may be more than any answer is."""
        stack.callback(clerk.close)
        limits = Limits(config.ingest.future_seconds, max(0, retention.raw_days - 1) * 86400.0)
        normaliser = Normaliser(limits)
        scraper = Scraper(writer, normaliser, foreign, telemetry, config.scrape)
        await stack.enter_async_context(_beside(scraper.run()))
        gate = Access(guard, asks, telemetry, _hosts(config))
        patience = Patience(asks.head_seconds, asks.read_seconds, telemetry)
        app = web.Application(
            middlewares=[
                traced(telemetry, SELF_HEADER),
                gate.middleware,
                unexpected,
                patience.middleware,
                errors,
            ]
        )
        app[TENANCY] = tenancy
        longest_seconds = asks.window_days * 86400
        app.add_routes(Api(reader, writer, telemetry, longest_seconds).routes())
        for receiver in (OtlpReceiver, RemoteWriteReceiver):
            parts = writer, normaliser, foreign, telemetry, config.ingest
            app.add_routes(receiver(*parts).routes())
        app.add_routes(HistoryReceiver(clerk, writer, config.ingest).routes())
        app.add_routes(LedgerApi(reader, job).routes())
        app.add_routes(FactsApi(reader, longest_seconds).routes())
        documents = DocumentReceiver(writer, clerk, telemetry, config.ingest, limits.oldest_seconds)
        app.add_routes(documents.routes())
        if report is not None:
            report.mirror(telemetry)
        watch = SelfWatch(clerk, OwnEnergy(os.uname().nodename), telemetry)
        await stack.enter_async_context(_beside(watch.keep()))
        url = await stack.enter_async_context(_served(app, config, guard, patience))
        await stack.enter_async_context(_beside(guard.keep_fresh(reload or asyncio.Event())))
        if not store.is_server:
            token = local_token if guard.asks else ""
            certificate = config.security.cert_file
            stack.enter_context(address.announced(Path(store.target), url, token, certificate))
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


def _hosts(config: Config) -> Collection[str] | None:
    """Return the names by which a collector that asks for nothing may be called, None: any.

    A page on the Internet may give its own name this machine's address, and ask in the name of
    whoever looks at it.
    """
    host = config.listen.rpartition(":")[0].strip("[]").lower()
    if config.security.file is not None or not is_loopback(host):
        return None
    return {host, *(name.lower() for name in config.security.hosts)}


async def serve(config: Config) -> None:
    """Run until SIGINT or SIGTERM; SIGHUP reads anew who may do what."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    reload = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    async with running(config, reload) as url:
        log.info("collector at %s, data in %s", url, redacted(config.data))
        loop.call_later(SETTLED_SECONDS, lambda: loop.run_in_executor(None, drop_file_pages))
        await stop.wait()
    log.info("collector stopped")


@asynccontextmanager
async def _served(
    app: web.Application, config: Config, guard: Guard, patience: Patience
) -> AsyncIterator[str]:
    host, _, port = config.listen.rpartition(":")
    # Bodies stay as sent: our own decompression has a limit, aiohttp's has none.
    runner = web.AppRunner(
        app,
        auto_decompress=False,
        access_log=None,
        shutdown_timeout=1.0,
        keepalive_timeout=KEEPALIVE_SECONDS,
    )
    await runner.setup()
    try:
        context = guard.listener()
        site = web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=context)
        await site.start()
        name = runner.addresses[0]
        shown = f"[{name[0]}]" if ":" in name[0] else name[0]
        assert runner.server is not None
        async with _beside(patience.keep(runner.server)):
            yield f"{'http' if context is None else 'https'}://{shown}:{name[1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have ``work`` done until the block ends."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
