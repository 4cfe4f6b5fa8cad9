"""What programs say that they produced: nothing good is lost, whatever stands beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter import outcome_document
from wattshed_exporter.model import Outcome, Workload
from wattshed_exporter.outcome_document import Said, Unreadable

NOW_MS = 1_768_471_200_000
NOW = "2026-01-15T10:00:00Z"


def doubt(at_ms: int) -> str:
    if at_ms > NOW_MS + 600_000:
        return "future_timestamp"
    return "too_old" if at_ms < NOW_MS - 86_400_000 else ""


def read(*items: Any, key: str = "") -> Said:
    return outcome_document.read(json.dumps(items).encode(), doubt, NOW_MS, key)


def reading(**said: Any) -> dict[str, Any]:
    return {"workload": "w", "outcome": "step", "total": 3, **said}


def increment(**said: Any) -> dict[str, Any]:
    return {"workload": "w", "outcome": "job", "count": 1, "ts": NOW, "id": "run-7", **said}


def test_a_reading_is_a_counter_as_it_stood() -> None:
    told = reading(ts=NOW_MS / 1000 - 5, start="2025-01-01", source="n/12", model="llama")
    said = read(reading(), told)
    assert said.batch.outcomes == (
        Outcome("w", "step", NOW_MS, 3.0),
        Outcome("w", "step", NOW_MS - 5000, 3.0, 1_735_689_600_000, "n/12", "llama"),
    )
    assert (said.whose, said.problems, said.batch.rejected) == (("w", "w"), [], {})


def test_an_increment_is_a_counter_of_its_own_named_by_its_id() -> None:
    between = {"from": NOW_MS / 1000 - 60, "to": NOW_MS / 1000}
    item = {"workload": "w", "outcome": "image", "count": 8, **between, "id": "a"}
    assert read(item).batch.outcomes == (
        Outcome("w", "image", NOW_MS - 60_000, 0.0, NOW_MS - 60_000, "id:a"),
        Outcome("w", "image", NOW_MS, 8.0, NOW_MS - 60_000, "id:a"),
    )
    assert [o.ts_ms for o in read(increment()).batch.outcomes] == [NOW_MS - 1, NOW_MS]


def test_the_key_of_a_request_names_each_of_its_increments() -> None:
    items = [increment(id=""), increment(id="a"), increment(id="")]
    sources = [o.source for o in read(*items, key="k").batch.outcomes[1::2]]
    assert sources == ["key:k#0", "id:a", "key:k#2"]


def test_a_workload_is_described_only_by_more_than_its_key() -> None:
    named = {"key": "w", "name": "train", "team": "nlp", "model": "", "batch_class": "512"}
    said = read(reading(workload=named), reading(workload={"key": "bare"}), reading(workload="x"))
    assert said.batch.workloads == (Workload("w", "train", team="nlp", batch_class="512"),)
    assert said.whose == ("w", "bare", "x")


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (7, "malformed"),
        (reading(count=1), "malformed"),
        ({"workload": "w", "outcome": "step"}, "malformed"),
        (reading(total=-1), "negative"),
        (reading(total=float("nan")), "not_finite"),
        (reading(total=float("inf")), "not_finite"),
        (reading(total=10**400), "out_of_range"),
        (reading(total="3"), "malformed"),
        (reading(total=True), "malformed"),
        (reading(x=1), "unknown_field"),
        (reading(workload={"key": "w", "color": "red"}), "unknown_field"),
        (reading(id="a"), "unknown_field"),
        (reading(workload=""), "no_workload"),
        (reading(workload=None), "no_workload"),
        (reading(workload={"name": "w"}), "no_workload"),
        (reading(outcome="Step"), "bad_outcome_kind"),
        (reading(outcome=""), "malformed"),
        (reading(model="\ud800"), "malformed"),
        (reading(source="s" * 2000), "too_long"),
        (reading(ts="soon"), "bad_time"),
        (reading(ts=None), "bad_time"),
        (reading(ts=NOW_MS / 1000 + 3600), "future_timestamp"),
        (reading(ts=NOW_MS / 1000 - 90_000), "too_old"),
        (reading(start=NOW_MS / 1000 + 1), "bad_interval"),
        (increment(id=""), "no_key"),
        (increment(id="i" * 300), "key_too_long"),
        (increment(to=NOW), "malformed"),
        (increment(source="s"), "unknown_field"),
        ({"workload": "w", "outcome": "job", "count": 1, "id": "a", "to": NOW}, "malformed"),
        (
            {"workload": "w", "outcome": "job", "count": 1, "id": "a", "from": NOW, "to": NOW},
            "bad_interval",
        ),
    ],
)
def test_a_bad_item_is_told_and_its_neighbours_are_taken(item: Any, reason: str) -> None:
    said = read(reading(), item, increment())
    assert said.batch.rejected == {reason: 1}
    assert [problem.partition(":")[0] for problem in said.problems] == ["[1]"]
    assert len(said.batch.outcomes) == 3


def test_every_problem_is_told_where_nothing_can_be_taken() -> None:
    with pytest.raises(Unreadable) as caught:
        read(*[reading(total=-1)] * 150)
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1] == "and 50 more"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 100_000, b'"x"'])
def test_what_is_no_document(body: bytes) -> None:
    with pytest.raises(Unreadable):
        outcome_document.read(body, doubt, NOW_MS)


SCALARS = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4)
ITEMS = st.dictionaries(
    st.sampled_from([*outcome_document.READING, *outcome_document.INCREMENT, "key"]),
    SCALARS | st.dictionaries(st.sampled_from(["key", "name"]), SCALARS),
)


@given(st.lists(SCALARS | ITEMS, max_size=5), st.integers(0, 5))
def test_a_good_item_is_taken_whatever_stands_beside_it(beside: list[Any], at: int) -> None:
    items = [*beside[:at], reading(source="good"), *beside[at:]]
    said = read(*items)
    (good,) = [o for o in said.batch.outcomes if o.source == "good"]
    assert good.total == 3.0
    assert len(said.whose) + sum(said.batch.rejected.values()) == len(items)


@given(st.lists(st.tuples(st.text(min_size=1, max_size=9), st.integers(0, 9)), min_size=1))
def test_what_comes_again_is_the_same_rows(said: list[tuple[str, int]]) -> None:
    items = [increment(id=name, count=n) for name, n in dict(said).items()]
    once = {(o.source, o.ts_ms): o for o in read(*items).batch.outcomes}
    twice = {(o.source, o.ts_ms): o for o in read(*items, *items).batch.outcomes}
    assert once == twice
    assert sum(o.total for o in once.values()) == sum(dict(said).values())
