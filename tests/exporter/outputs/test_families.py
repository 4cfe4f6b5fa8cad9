"""Counters and gauges are written as prometheus-client writes them, whatever they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from wattshed_exporter.outputs.families import Families


def same(registry: CollectorRegistry) -> None:
    assert Families(registry).render() == generate_latest(registry)
    stock = bytes(generate_openmetrics(registry))  # type: ignore[no-untyped-call]
    assert Families(registry, openmetrics=True).render() + b"# EOF\n" == stock


@pytest.fixture(autouse=True)
def no_created_metrics() -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]


@given(st.text(), st.lists(st.tuples(st.text(), st.floats())))
def test_counters_and_gauges(help: str, series: list[tuple[str, float]]) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("level_watts", help, ("source",), registry=registry, unit="watts")
    counter = Counter("reads", help, ("b", "a"), registry=registry)
    for label, value in series:
        gauge.labels(label).set(value)
        counter.labels(label, "x").inc(abs(value))
    Gauge("plain", 'with "quotes"', registry=registry).set(1e6)
    same(registry)


def test_values_are_those_of_now() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("level", "Level.", ("source",), registry=registry)
    families = Families(registry)
    for value in (1, 2e6):
        gauge.labels("a").set(value)
        assert families.render() == generate_latest(registry)
    gauge.labels("b").set(3)
    gauge.remove("a")
    assert families.render() == generate_latest(registry)


def test_nothing() -> None:
    same(CollectorRegistry())
