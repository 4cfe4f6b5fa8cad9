"""Retention that is changed later: stored rows follow it, and the ledger knows what is gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.store import ledger_state
from wattshed_collector.store.client import Client
from wattshed_collector.store.layout import Layout
from wattshed_collector.store.retention import Change, apply, rules
from wattshed_exporter.model import Batch, Method, Tick

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

DAY = 86_400
KEEP_ALL = Layout(raw_days=0, minute_days=0)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def expiry_days(client: Client, now: float) -> list[int]:
    """In how many days the parts of ``tick`` expire, as they themselves know."""
    rows = client.rows(
        "SELECT toUnixTimestamp(delete_ttl_info_max) FROM system.parts "
        "WHERE table = 'tick' AND active AND rows > 0 ORDER BY name"
    )
    return [round((int(at) - now) / DAY) for (at,) in rows]


def test_every_table_with_a_rule_is_found() -> None:
    found = rules()
    assert {t: found[t] for t in ("tick", "sample", "outcome")} == dict.fromkeys(
        ("tick", "sample", "outcome"), "RAW_TTL"
    )
    assert (found["tick_day"], found["charge_1m"]) == ("DAY_TTL", "MINUTE_TTL")
    assert not {"charge_1h", "device", "dirty", "ledger_state"} & found.keys()


def test_what_is_stored_follows_a_change(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    now = time.time()
    bed.write(Batch(ticks=(Tick("d", int((now - 5 * DAY) * 1000), 1000, Method.COUNTER, 1.0),)))
    layout = Layout(raw_days=30, minute_days=180)
    caplog.set_level(logging.INFO)
    try:
        changes = apply(bed.client, layout)
        assert {change.table for change in changes} == rules().keys()
        assert Change("tick", 0, 30) in changes
        until(lambda: expiry_days(bed.client, now) == [25])
        assert apply(bed.client, layout) == []

        changes = apply(bed.client, replace(layout, raw_days=60))
        assert Change("charge_1m", 180, 180) not in changes
        assert Change("tick", 30, 60) in changes
        until(lambda: expiry_days(bed.client, now) == [55])
        assert bed.client.rows("SELECT count() FROM tick") == [(1,)]

        assert Change("tick", 60, 10) in apply(bed.client, replace(layout, raw_days=10))
        until(lambda: expiry_days(bed.client, now) == [5])
    finally:
        apply(bed.client, KEEP_ALL)
    warned = {r.getMessage() for r in caplog.records if r.levelno == logging.WARNING}
    assert "tick was kept for ever and is kept 30 days from now on" in warned
    assert "tick was kept 60 days and is kept 10 days from now on" in warned
    assert not any("30 days and is kept 60" in message for message in warned)
    assert ledger_state.raw_days(bed.client) == 0


def test_the_ledger_leaves_alone_what_a_shorter_retention_has_dropped(bed: Bed) -> None:
    """Nine days are kept from now on, but those before the last three were dropped long ago."""
    now = 1_800_000_000.0
    try:
        apply(bed.client, Layout(raw_days=3, minute_days=0), lambda: now)
        apply(bed.client, Layout(raw_days=9, minute_days=0), lambda: now)
        since = ledger_state.raw_since(bed.client)
        assert since == now - 3 * DAY
        # Shorter and longer again: what is known to be gone stays known.
        apply(bed.client, Layout(raw_days=5, minute_days=0), lambda: now + DAY)
        apply(bed.client, Layout(raw_days=0, minute_days=0), lambda: now + DAY)
        assert ledger_state.raw_since(bed.client) == since
    finally:
        apply(bed.client, KEEP_ALL)
    for days, later, oldest in ((9, 0, since + DAY), (9, 20, now + 12 * DAY), (0, 99, since + DAY)):
        at = now + later * DAY
        ledger = bed.ledger(raw_days=days, raw_since=since, now=lambda at=at: at)  # type: ignore[misc]
        assert ledger.oldest == -(-oldest // 3600) * 3600
