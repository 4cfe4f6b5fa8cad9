"""The counters of workloads on the page equal prometheus-client's bytes, in both formats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from wattshed_exporter.model import Device, Kind
from wattshed_exporter.outputs import Charged, Labels, Snapshot
from wattshed_exporter.outputs.exposition import Exposition
from wattshed_exporter.semconv import (
    DEVICE_ATTRIBUTES,
    DEVICE_INFO,
    WORKLOAD_ENERGY,
    WORKLOAD_LABELS,
)

DEVICES = tuple(Device(f"d{n}", Kind.GPU, "n1", "test") for n in range(2))
FIELDS = {a.label: a.name for a in DEVICE_ATTRIBUTES}


class Stock(Collector):
    """The same families, made of prometheus-client's own objects."""

    def __init__(self, charged: Charged) -> None:
        self.charged = charged

    def collect(self) -> Iterator[CounterMetricFamily]:
        from prometheus_client.core import GaugeMetricFamily

        info = GaugeMetricFamily(
            DEVICE_INFO.prometheus, DEVICE_INFO.help, labels=DEVICE_INFO.labels
        )
        for device in DEVICES:
            labels = [str(getattr(device, FIELDS[label])) for label in DEVICE_INFO.labels]
            info.add_metric(labels, 1)
        yield info  # type: ignore[misc]
        family = CounterMetricFamily(
            WORKLOAD_ENERGY.prometheus, WORKLOAD_ENERGY.help, labels=WORKLOAD_ENERGY.labels,
            unit="joules",
        )  # fmt: skip
        known = {d.key: d for d in DEVICES}
        for (key, own), joules in zip(self.charged.keys, self.charged.joules, strict=True):
            if key in known:
                family.add_metric([key, known[key].node, known[key].kind, *own], joules)
        if family.samples:
            yield family


def stock(charged: Charged, openmetrics: bool) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Stock(charged))
    if openmetrics:
        return bytes(generate_openmetrics(registry))  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def labels(text: str) -> Labels:
    return ("active", *(f"{text}{n}" for n in range(len(WORKLOAD_LABELS))))


def charged(rows: Sequence[tuple[str, str, float]]) -> Charged:
    told = {(device, labels(text)): joules for device, text, joules in rows}
    return Charged(tuple(told), tuple(told.values()))


rows = st.lists(
    st.tuples(st.sampled_from(["d0", "d1", "gone"]), st.text(), st.floats(0, allow_infinity=False)),
    max_size=5,
)


@given(st.lists(rows, max_size=4), st.booleans())
def test_it_is_what_prometheus_client_says_whatever_comes_after_whatever(
    history: list[list[tuple[str, str, float]]], openmetrics: bool
) -> None:
    exposition, snapshot = Exposition(openmetrics), Snapshot(DEVICES)
    for each in history:
        told = charged(each)
        assert exposition.render(snapshot, b"", told) == stock(told, openmetrics)
        more = Charged(told.keys, tuple(joules + 1.5 for joules in told.joules))
        assert exposition.render(snapshot, b"", more) == stock(more, openmetrics)


def test_a_device_that_comes_back_shows_its_counters_again() -> None:
    exposition, told = Exposition(), charged([("d0", "a", 5.0), ("d1", "b", 7.0)])
    whole = exposition.render(Snapshot(DEVICES), b"", told)
    without = exposition.render(Snapshot(DEVICES[:1]), b"", told)
    assert b'device="d1"' in whole
    assert b'device="d1"' not in without
    assert exposition.render(Snapshot(DEVICES), b"", told) == whole


@pytest.mark.parametrize("label", WORKLOAD_LABELS)
def test_every_label_of_a_workload_is_there(label: str) -> None:
    body = Exposition().render(Snapshot(DEVICES), b"", charged([("d0", "x", 1.0)])).decode()
    at = WORKLOAD_LABELS.index(label)
    assert f'{label}="x{at}"' in body
