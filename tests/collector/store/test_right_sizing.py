"""Ways to serve beside each other by joules and scores, and what cached prompt tokens avoided."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from wattshed_collector.api import quality_pages
from wattshed_collector.api.quality import OPERATIONS
from wattshed_collector.api.quality_pages import HEADERS, Page
from wattshed_collector.errors import InvalidInput
from wattshed_collector.openapi import JSON
from wattshed_collector.quality import Score
from wattshed_collector.store import quality
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Outcome, Tick, Workload

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200  # 2026-01-15T10:00:00Z
HOUR = 3600
WINDOW = BASE, BASE + HOUR
PROMPTS = {"token_in": 3000.0, "token_in_cached": 1000.0}


def served(workload: Workload, watts: float, made: Mapping[str, float]) -> Batch:
    """An hour of a workload on a device of its own, which draws ``watts``."""
    start, end, key = BASE * 1000, (BASE + HOUR) * 1000, workload.key
    return Batch(
        devices=(Device(key, Kind.GPU, "n", "s", model="H200", uncertainty_ratio=0.05),),
        workloads=(workload,),
        allocations=(Allocation(key, key, start, end),),
        ticks=tuple(
            Tick(key, start + m * 60_000, 60_000, Method.COUNTER, watts) for m in range(61)
        ),
        outcomes=tuple(Outcome(key, kind, end, total, start) for kind, total in made.items()),
    )


def chat(key: str, precision: str, watts: float, tokens: float, model: str = "llama") -> Batch:
    return served(
        Workload(key, key, model=model, precision=precision), watts, {"token_out": tokens}
    )


def score(precision: str, value: float, **more: Any) -> Score:
    return Score(more.pop("model", "llama"), precision, "rouge-l", value, "higher", 1, **more)


@pytest.fixture(scope="module")
def hour(shared_bed: Bed) -> Bed:
    """One hour of several ways to serve, charged."""
    shared_bed.clean()
    shared_bed.write(
        chat("a", "fp16", 600, 3600),
        chat("b", "fp16", 300, 1800),  # the same way: 900 W for 1.5 tokens a second
        chat("c", "fp8", 500, 5000),
        chat("d", "int4", 100, 3600),
        chat("e", "fp8", 50, 3600, "other"),
        served(Workload("fill", "fill", phase="prefill"), 300, PROMPTS),
        served(Workload("both", "both"), 300, {**PROMPTS, "token_out": 2000.0}),
        served(Workload("emit", "emit", phase="decode"), 9, PROMPTS),
    )
    shared_bed.ledger().run()
    said = (score("fp16", 0.40), score("fp8", 0.41), score("int4", 0.2))
    quality.put(shared_bed.client, [*said, score("fp8", 0.9, model="other", workload="x")], 1.0)
    return shared_bed


def test_ways_are_compared_by_sums_and_scores(hour: Bed) -> None:
    rows = quality.pareto(hour.client, "token_out", "rouge-l", *WINDOW)
    assert {tuple(row) for row in rows} == {HEADERS["pareto"]}
    assert [(r["ai_model"], r["precision"], r["verdict"]) for r in rows] == [
        ("other", "fp8", "no_score"),
        ("llama", "int4", "front"),
        ("llama", "fp8", "front"),
        ("", "", "no_score"),
        ("llama", "fp16", "dominated"),
    ]
    worst = rows[-1]
    assert worst["joules_per_outcome_loaded"] == pytest.approx(900 * HOUR / 5400, rel=1e-9)
    assert worst["saved_joules_per_outcome"] == pytest.approx(600 - 360, rel=1e-9)
    assert (worst["best_precision"], worst["is_clear"]) == ("fp8", True)


def test_the_scores_of_a_workload_are_its_own(hour: Bed) -> None:
    for name, verdict in (("x", []), ("e", ["no_score"])):
        found = quality.pareto(
            hour.client, "token_out", "rouge-l", *WINDOW, "active", {"workload": name}
        )
        assert [row["verdict"] for row in found] == verdict
    quality.put(hour.client, [score("fp8", 0.9, model="other", workload="e")], 1.0)
    (row,) = quality.pareto(
        hour.client, "token_out", "rouge-l", *WINDOW, "active", {"workload": "e"}
    )
    assert (row["verdict"], row["score"]) == ("front", 0.9)


def test_where_a_server_only_fills_what_a_cache_avoided_is_known(hour: Bed) -> None:
    found = quality.cache_effect(hour.client, ["workload"], *WINDOW)
    assert {tuple(row) for row in found} == {("workload", *HEADERS["cache"])}
    rows = {row["workload"]: row for row in found}
    avoided = pytest.approx(1000 * 300 * HOUR / 3000, rel=1e-9)
    fill, both, emit = (rows[name] for name in ("fill", "both", "emit"))
    assert (fill["method"], both["method"], emit["method"]) == ("prefill", "range", "unknown")
    assert fill["least_avoided_joules"] == fill["most_avoided_joules"] == avoided
    assert fill["blended_joules"] is None
    # Elsewhere only bounds are: none of the joules were for prompts, or all of them.
    assert (both["least_avoided_joules"], both["most_avoided_joules"]) == (0, avoided)
    assert both["blended_joules"] == pytest.approx(1000 * 300 * HOUR / 5000, rel=1e-9)
    assert emit["cached_tokens"] == pytest.approx(1000, rel=1e-9)
    assert emit["least_avoided_joules"] is emit["most_avoided_joules"] is None


def test_what_is_not_known_hides_in_no_bound(hour: Bed) -> None:
    rows = quality.cache_effect(hour.client, [], *WINDOW)
    assert [row["method"] for row in rows] == ["prefill", "range", "unknown"]


def test_what_cannot_be_asked_is_refused(hour: Bed) -> None:
    with pytest.raises(InvalidInput, match="by='pod'"):
        quality.cache_effect(hour.client, ["pod"], *WINDOW)
    with pytest.raises(InvalidInput, match="basis='idle'"):
        quality.pareto(hour.client, "token_out", "rouge-l", *WINDOW, "idle")
    with pytest.raises(InvalidInput, match="'pod'"):
        quality.pareto(hour.client, "token_out", "rouge-l", *WINDOW, where={"pod": "x"})


DESCRIBED = Draft202012Validator(dict(OPERATIONS[0].answers[JSON]))


def told(bed: Bed, *said: tuple[str, str]) -> Page:
    question = quality_pages.parse(said, BASE + 2 * HOUR)
    page = quality_pages.answer(bed.client, question)
    DESCRIBED.validate(json.loads(json.dumps(page)))
    head, *lines = quality_pages.as_csv(question, page).splitlines()
    assert head.split(",")[: len(question.groups)] == list(question.groups)
    assert len(lines) == len(page["rows"])
    return page


HOURS = ("since", "2026-01-15T10:00Z"), ("until", "2026-01-15T12:00Z")
WAYS = ("view", "pareto"), ("outcome", "token_out"), ("metric", "rouge-l"), *HOURS
VIEWS = (
    (("view", "scores"),),
    (("view", "drift"), ("metric", "loss")),
    (("view", "pareto"), ("outcome", "token_out"), ("metric", "rouge-l"), *HOURS),
    (
        ("view", "pareto"),
        ("outcome", "token_out"),
        ("metric", "rouge-l"),
        ("basis", "active"),
        *HOURS,
    ),
    (("view", "cache"), ("by", "workload,hardware"), *HOURS),
)


@pytest.mark.parametrize("said", VIEWS, ids=lambda said: said[0][1])
def test_each_view_is_paged(hour: Bed, said: tuple[tuple[str, str], ...]) -> None:
    calibrated = [
        Score("m", str(n), "loss", 1.0, "lower", 1000 * n, "calibration") for n in range(3)
    ]
    since = [Score("m", str(n), "loss", 1 + n / 10, "lower", 9000) for n in range(2)]
    quality.put(hour.client, [*calibrated, *since], 1.0)
    whole = told(hour, *said)
    assert whole["next"] is None
    assert len(whole["rows"]) >= 3
    found: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        page = told(hour, *said, ("limit", "2"), ("after", after))
        assert page.get("window") == whole.get("window")
        found += page["rows"]
        after = page["next"]
    assert _timeless(found) == _timeless(whole["rows"])


def _timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How old a calibration is differs from one question to the next."""
    return [{k: v for k, v in row.items() if k != "days_since_calibration"} for row in rows]


def test_a_page_of_another_question_is_none_of_this_one(hour: Bed) -> None:
    token = told(hour, ("limit", "1"))["next"]
    assert token
    for said in ((("view", "drift"),), (("metric", "rouge-l"),), WAYS):
        with pytest.raises(InvalidInput, match="belongs to another question"):
            quality_pages.parse((*said, ("after", token)), BASE)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ((("view", "colours"),), "view='colours': choose one of scores, drift, pareto, cache"),
        ((("view", "drift"), ("by", "team")), "drift is not asked by 'by' but by metric, view"),
        ((("limit", "0"),), "limit='0': choose a whole number from 1 to 10000"),
        ((("format", "xml"),), "format='xml': choose one of json, csv"),
        ((("metric", "a"), ("metric", "b")), "metric= is said twice"),
        ((("view", "cache"), ("since", "soon")), "'soon' is not a time"),
    ],
)
def test_what_cannot_be_asked_says_what_can(said: tuple[tuple[str, str], ...], says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        quality_pages.parse(said, BASE)
    assert says in str(refused.value)
