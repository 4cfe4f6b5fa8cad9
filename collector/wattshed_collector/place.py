"""The store that the settings name, opened and made ready: for collector and command line."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from wattshed_exporter.settings import load

from .config import PREFIX, Config, Migrate
from .errors import Denied, Retryable
from .store import memory, retention
from .store.client import Store
from .store.faults import SCHEMA_CODES, code_of
from .store.migrate import Layout, await_migrated, migrate, migrate_server
from .store.server import is_url

T = TypeVar("T")
AWAY_SECONDS = 5.0
"""Between two tries of a server that is away when we start."""


def store(config: Config) -> Store:
    """Open the store. Raises StoreError."""
    if is_url(config.data):
        return Store(config.data, told=config.store.server(config.data))
    folder = config.durability.backup_folder
    return Store(config.data, memory_bytes=engine_bytes(config), backup_folder=folder)


def engine_bytes(config: Config) -> int:
    """Return the cap of the embedded engine's memory, 0 where it chooses itself."""
    return config.durability.engine_memory_bytes or memory.engine_bytes()


def layout(config: Config, store: Store) -> Layout:
    """Return how the store's tables are laid out."""
    days = config.retention.raw_days, config.retention.minute_days
    return config.store.layout(*days, store.server.database if store.is_server else "default")


def ready(config: Config, store: Store, layout: Layout, told: Callable[[str], None]) -> None:
    """Make the tables, or wait until somebody has. Raises StoreError.

    Who makes them also has them keep their rows for as long as the settings say by now.
    """
    if not store.is_server:
        client = store.client()
        migrate(client, layout)
        retention.apply(client, layout)
        client.close()
    elif config.store.migrate is Migrate.AUTO:
        migrate_server(store, layout)
        client = store.client(database=layout.shard_database)
        retention.apply(client, layout)
        client.close()
    else:
        await_migrated(
            lambda: store.client(database=layout.shard_database),
            wait=config.store.migrate is Migrate.WAIT,
            told=told,
        )


async def await_server(
    config: Config,
    told: Callable[[str], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Do as ``ready`` where the store is a server, and wait for it while it is away.

    Senders keep what they have meanwhile: nothing is taken in before the tables are known to be
    there. Raises StoreError, among them Denied.
    """
    if not is_url(config.data):
        return
    server = store(config)
    while True:
        try:
            ready(config, server, layout(config, server), told)
            return
        except Denied:
            raise
        except Retryable as error:
            if config.store.migrate is Migrate.NEVER and code_of(error) in SCHEMA_CODES:
                raise  # the server is there, and what it lacks is not made by waiting
            told(f"waiting for the store: {error}")
        await sleep(AWAY_SECONDS)


def patiently(
    act: Callable[[], T],
    seconds: float,
    told: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> T:
    """Return what ``act`` does; where the store is away, try again for ``seconds``.

    Raises StoreError: Denied and Permanent at once, Retryable when the time is up.
    """
    end = monotonic() + seconds
    while True:
        try:
            return act()
        except Denied:
            raise
        except Retryable as error:
            if monotonic() + AWAY_SECONDS > end:
                raise
            told(f"waiting for the store: {error}")
        sleep(AWAY_SECONDS)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add where the collector's settings are."""
    command.add_argument("--config", metavar="FILE", help="the collector's settings file")
    command.add_argument(
        "--data", metavar="PLACE", help="data folder or URL, where the file does not say it"
    )


def add_wait(command: argparse.ArgumentParser) -> None:
    """Add for how long a server that is away is waited for."""
    command.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="try again for as long where the server is away (default: not at all)",
    )


def configured(arguments: argparse.Namespace) -> Config:
    """Return the collector's settings of the command line and the environment; ConfigError."""
    said = {"--config": arguments.config, "--data": arguments.data}
    flags = [word for name, value in said.items() if value for word in (name, value)]
    return load(Config, flags, os.environ, prog="wattshed", prefix=PREFIX)
