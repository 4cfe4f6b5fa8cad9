"""The collector's own counters are read as those of prometheus-client, whoever adds to them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from wattshed_collector.telemetry import Telemetry


def test_what_many_threads_count_is_all_there_in_whatever_order_labels_are_said() -> None:
    telemetry = Telemetry()

    def count(turn: int) -> None:
        for _ in range(500):
            if turn % 2:
                telemetry.count("requests_total", receiver="otlp", code="200")
            else:
                telemetry.count("requests_total", 0.5, code="200", receiver="otlp")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    text = generate_latest(telemetry.registry).decode()
    (family,) = (
        family
        for family in text_string_to_metric_families(text)
        if family.name == "wattshed_collector_requests"
    )
    assert [(s.labels, s.value) for s in family.samples if s.name.endswith("_total")] == [
        ({"receiver": "otlp", "code": "200"}, 1500.0)
    ]


def test_a_counter_without_labels_begins_at_zero_and_others_where_they_are_said() -> None:
    value = Telemetry().registry.get_sample_value
    assert value("wattshed_collector_ledger_seconds_total") == 0.0
    assert value("wattshed_collector_ledger_runs_total", {"result": "ok"}) is None


@pytest.mark.parametrize("labels", [{}, {"receiver": "otlp"}, {"receiver": "a", "reason": "b"}])
def test_labels_that_were_not_declared_are_an_error(labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="requests_total"):
        Telemetry().count("requests_total", 1, **labels)


def test_who_asks_for_one_name_is_told_what_is_counted_and_what_is_watched() -> None:
    telemetry = Telemetry()
    telemetry.count("ledger_hours_total", 3)
    telemetry.watch("disk_full", lambda: {(): True})
    telemetry.watch("commits", lambda: {(): 1 / 0})
    for name, expected in (("ledger_hours_total", [3.0]), ("disk_full", [1.0]), ("commits", [])):
        told = telemetry.registry.restricted_registry([f"wattshed_collector_{name}"]).collect()
        found = [sample.value for family in told for sample in family.samples]
        assert found == expected
