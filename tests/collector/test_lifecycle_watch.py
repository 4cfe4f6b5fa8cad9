"""What the collector brings along of hardware reaches a store that is away at first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from wattshed_collector.config import Lifecycle
from wattshed_collector.errors import Retryable
from wattshed_collector.lifecycle.embodied import table
from wattshed_collector.lifecycle_watch import LifecycleWatch
from wattshed_collector.store.client import Client
from wattshed_collector.store.read import Reader

if TYPE_CHECKING:
    from tests.collector.conftest import Bed


def test_a_store_that_is_away_is_told_later(bed: Bed) -> None:
    tries: list[int] = []

    def opened() -> Client:
        tries.append(1)
        if len(tries) < 3:
            raise Retryable("the store is away")
        return bed.store.client()

    reader = Reader(opened)
    told = Lifecycle(lifetime_years=3.0)
    asyncio.run(LifecycleWatch(reader, told, lambda: 1e9, retry_seconds=0.0).tell_once())
    reader.close()
    assert len(tries) == 3
    assert bed.client.rows("SELECT lifetime_years FROM device_told") == [(3.0,)]
    assert bed.client.rows("SELECT count() FROM embodied") == [(len(table()),)]


def test_lifetimes_that_cannot_be_are_refused() -> None:
    assert Lifecycle().problems() == []
    for years in (0.0, -1.0, float("nan"), 101.0):
        (problem,) = Lifecycle(lifetime_years=years).problems()
        assert problem.startswith("lifetime_years: ")
