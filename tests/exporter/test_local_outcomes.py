"""Outcomes of local programs: kept before they are acknowledged, and added up for who pulls."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.local_outcomes import MOST_SERIES, LocalOutcomes, Seen
from wattshed_exporter.model import Batch, Outcome
from wattshed_exporter.outputs.families import Families
from wattshed_exporter.telemetry import Telemetry

NOW_MS = 1_768_471_200_000
NOW = NOW_MS / 1000


class Kept:
    """Where batches are kept, unless there is no room."""

    def __init__(self, has_room: bool = True) -> None:
        self.batches: list[Batch] = []
        self.has_room = has_room

    def __call__(self, batch: Batch, seconds: float) -> bool:
        self.batches += [batch] * self.has_room
        return self.has_room


def local(keep: Kept | None, telemetry: Telemetry | None = None) -> LocalOutcomes:
    return LocalOutcomes(keep, telemetry or Telemetry(), lambda: NOW_MS)


def post(to: LocalOutcomes, *items: Any, key: str = "") -> tuple[int, Any]:
    answer = to.post(json.dumps(items).encode(), {"idempotency-key": key})
    return answer.status, json.loads(answer.body)


def reading(total: float, **said: Any) -> dict[str, Any]:
    return {"workload": "w", "outcome": "inference", "total": total, **said}


def test_it_is_passed_on_and_bad_neighbours_are_counted() -> None:
    kept, telemetry = Kept(), Telemetry()
    said = reading(5, workload={"key": "w", "team": "edge"}, source="p/1", ts=NOW, start=NOW - 60)
    once = {"workload": "w", "outcome": "job", "count": 1, "ts": NOW}
    status, told = post(local(kept, telemetry), said, reading(-1), once, key="k")
    assert (status, told["accepted"], told["rejected"]) == (200, 2, {"negative": 1})
    (batch,) = kept.batches
    assert batch.workloads[0].team == "edge"
    assert batch.outcomes == (
        Outcome("w", "inference", NOW_MS, 5.0, NOW_MS - 60_000, "p/1"),
        Outcome("w", "job", NOW_MS - 1, 0.0, NOW_MS - 1, "key:k#2"),
        Outcome("w", "job", NOW_MS, 1.0, NOW_MS - 1, "key:k#2"),
    )
    name = "wattshed_source_errors_total"
    assert telemetry.value(name, source="outcomes", reason="negative") == 1


@pytest.mark.parametrize("ts", [NOW + 3600, NOW - 40 * 86400])
def test_times_that_are_not_believed(ts: float) -> None:
    kept = Kept()
    status, told = post(local(kept), reading(5, ts=ts))
    assert (status, kept.batches) == (400, [])
    assert "is not believed" in told["problems"][0]


def test_what_cannot_be_kept_is_not_acknowledged_nor_counted() -> None:
    to = local(Kept(has_room=False))
    assert post(to, reading(5, start=NOW))[0] == 503
    assert [family.samples for family in to.seen.collect()] == [[]]


def test_where_nothing_is_pushed_it_is_only_shown() -> None:
    telemetry = Telemetry()
    to = local(None, telemetry)
    assert post(to, reading(5, start=NOW))[0] == 200
    families = Families(to.beside(telemetry))
    line = b'wattshed_outcomes_total{outcome="inference",workload_id="w"} '
    for shown in (b"0.0", b"0.0", b"5.0"):
        assert line + shown + b"\n" in families.render()
    assert b"wattshed_build_info{" in families.render()
    openmetrics = Families(to.beside(telemetry), openmetrics=True).render()
    assert b"# TYPE wattshed_outcomes counter\n" in openmetrics
    assert line + b"5.0\n" in openmetrics


STREAMS = st.tuples(st.sampled_from("ab"), st.sampled_from(["step", "job"]), st.sampled_from("pq"))


@given(st.lists(st.tuples(STREAMS, st.integers(0, 9)), max_size=30), st.randoms())
def test_what_is_pulled_is_what_counters_grew_by(
    said: list[tuple[tuple[str, str, str], int]], chance: Any
) -> None:
    seen = Seen(NOW_MS)
    grown: Counter[tuple[str, str]] = Counter()
    totals: Counter[tuple[str, str, str]] = Counter()
    told: list[Outcome] = []
    for at, (stream, count) in enumerate(said):
        totals[stream] += count
        grown[stream[:2]] += count
        workload, kind, source = stream
        told.append(Outcome(workload, kind, NOW_MS + at, totals[stream], NOW_MS, source))
        assert seen.take([*chance.sample(told, chance.randrange(len(told))), told[-1]]) == 0
    for _ in range(2):
        list(seen.collect())
    (family,) = seen.collect()
    assert {tuple(s.labels.values()): s.value for s in family.samples} == grown


def test_what_a_counter_stood_at_before_this_process_is_not_said_again() -> None:
    seen = Seen(NOW_MS)
    older = NOW_MS - 1000
    for at, total in enumerate((100.0, 107.0, 2.0)):  # then the program was started anew
        seen.take([Outcome("w", "step", NOW_MS + at, total, older, "p")])
    list(seen.collect())
    list(seen.collect())
    (family,) = seen.collect()
    assert [sample.value for sample in family.samples] == [9.0]


def test_there_are_no_more_series_than_a_page_can_bear() -> None:
    telemetry = Telemetry()
    to = local(Kept(), telemetry)
    items = [reading(1, workload=f"w{n}") for n in range(MOST_SERIES + 2)]
    assert post(to, *items)[0] == 200
    assert (
        telemetry.value("wattshed_source_errors_total", source="outcomes", reason="too_many") == 2
    )
