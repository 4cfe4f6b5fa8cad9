"""Definitions as people write them, taken into force while the collector runs, and shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import generate_latest
from tests.collector.slo_reference import HOUR_S, Follower, Minute, adopt, produce

from wattshed_collector.config import SloFile
from wattshed_collector.slo import BURNS, Basis, Burn, Sli, Slo, load, parse
from wattshed_collector.slo_metrics import COUNTERS, GAUGES, Exposed
from wattshed_collector.slo_watch import Counted, SloFileWatch, SloWatch
from wattshed_collector.store import slo_definitions, slo_queries
from wattshed_collector.store.read import Reader
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.errors import ConfigError

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "slos.yaml"
LEAST = {"name": "a", "outcome": "token", "target_joules_per_outcome": 2, "objective_ratio": 0.5}


def test_the_example_is_read() -> None:
    chat, training = load(EXAMPLE)
    assert (chat.burn, list(chat.notes())) == (list(BURNS), [])
    assert (training.basis, training.sli, training.burn) == (
        Basis.ACTIVE,
        Sli.JOULE_BUDGET,
        BURNS,
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"nmae": 1}, "'nmae' is unknown"),
        ({"objective_ratio": 1}, "objective_ratio: 1 is no number between 0 and 1"),
        ({"target_joules_per_outcome": 0}, "target_joules_per_outcome: 0 is no number above 0"),
        ({"target_joules_per_outcome": float("nan")}, "is no number above 0"),
        ({"match": {"rack": "1"}}, "match: 'rack' is none of team"),
        ({"match": {"team": 5}}, "match: team: 5 is no text"),
        ({"sli": "good"}, "sli: 'good' is none of good_outcomes, joule_budget"),
        ({"window_days": 2.5}, "window_days: 2.5 is no whole number"),
        ({"least_outcomes": 0}, "least_outcomes: 0 is no number above 0"),
        ({"window_days": 1}, "burn: a window of 3 days is longer than window_days"),
        ({"burn": [{"factor": 1, "long": "5m", "short": "1h"}]}, "must be shorter than the long"),
        ({"burn": [{"factor": 1, "long": "1y", "short": "1h"}]}, "'1y' is no length such as"),
        ({"name": "a b"}, "name: 'a b' must be letters"),
        ({"name": None}, "name: None is no text"),
    ],
)
def test_what_is_wrong_is_said(more: Mapping[str, Any], said: str) -> None:
    found, problems = parse({"slos": [{**LEAST, **more}]})
    assert found == []
    assert len(problems) == 1
    assert said in problems[0]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "slos.yaml"
    file.write_text("slos:\n- {name: a, outcome: 1}\n- {name: a, basis: x}\n- 5\nextra: 1\n")
    with pytest.raises(ConfigError) as error:
        load(file)
    assert len(error.value.problems) == 9
    assert SloFile(file=file).problems() == list(error.value.problems)
    file.write_text("slos: [*x]")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(file)


def test_a_factor_out_of_reach_is_noted() -> None:
    (slo,), _ = parse({"slos": [{**LEAST, "objective_ratio": 0.9}]})
    (note,) = slo.notes()
    assert "factor 14.4 can never be exceeded" in note


def written(file: Path, target: float) -> None:
    file.write_text(json.dumps({"slos": [{**LEAST, "target_joules_per_outcome": target}]}))


def test_a_changed_file_counts_and_a_bad_one_does_not(bed: Bed, tmp_path: Path) -> None:
    file, telemetry = tmp_path / "slos.yaml", Telemetry()
    written(file, 2.0)
    watch = SloFileWatch(file, telemetry)

    def targets() -> list[float]:
        watch.refresh()
        if watch.is_waiting:
            watch.apply(bed.client)
        active = [kept for kept in slo_definitions.read(bed.client) if kept.is_active]
        return [kept.slo.target_joules_per_outcome for kept in active]

    def is_valid() -> float | None:
        return telemetry.registry.get_sample_value("wattshed_collector_slo_file_valid")

    assert targets() == [2.0]
    written(file, 30.0)
    assert targets() == [2.0], "half of a file may lack something"
    assert targets() == [30.0]
    file.write_text("slos: [{name: a}]")
    assert [targets(), targets(), is_valid()] == [[30.0], [30.0], 0]
    file.write_text("slos: []")
    assert [targets(), targets(), is_valid()] == [[30.0], [], 1]


def test_a_definition_is_another_only_where_its_meaning_changes(bed: Bed) -> None:
    slo, other = _slo(), _slo(owner="you", objective_ratio=0.8)
    adopt(bed.client, slo)
    (first,) = slo_definitions.read(bed.client)
    assert first.slo == slo
    assert adopt(bed.client, slo) == []
    assert adopt(bed.client, other) == ["a"]
    (second,) = slo_definitions.read(bed.client)
    assert (second.revision, second.slo.owner) == (first.revision, "you")
    adopt(bed.client)
    adopt(bed.client, other)
    (third,) = slo_definitions.read(bed.client)
    assert third.revision > first.revision, "nothing was computed while it was not in force"


def _slo(**more: Any) -> Slo:
    told: dict[str, Any] = {**LEAST, "objective_ratio": 0.9, "owner": "me", "window_days": 1}
    return Slo(**{**told, "burn": (Burn(2.0, 3600, 300),), **more})


async def test_alert_rules_see_the_same_rows(bed: Bed) -> None:
    """Nobody scrapes, and nothing is asked; counters never fall, also where late readings do."""
    adopt(bed.client, _slo())
    produce(bed.client, [Minute(BASE + n * 60, 10.0, 50.0) for n in range(60)])
    follower, end = Follower(bed.client, BASE), BASE + HOUR_S
    follower.settle(end + 119)
    follower.all(end)
    exposed, clock = Exposed(), [100.0]
    telemetry = Telemetry()
    telemetry.registry.register(exposed)
    reader = Reader(bed.store.client)
    watch = SloWatch(reader, SloFileWatch(None, telemetry), exposed, lambda: clock[0])

    def value(name: str, **labels: str) -> float | None:
        return telemetry.registry.get_sample_value(f"wattshed_slo_{name}", labels)

    await watch.once()
    of = {"slo": "a", "owner": "me"}
    (row,) = slo_queries.burn(bed.client)
    assert value("burn_ratio", **of, window="1h") == row["burn_long"] == pytest.approx(10)
    assert value("burning", **of, severity="page") == 1
    assert value("budget_left_ratio", **of) == row["budget_left_ratio"]
    assert value("joules_total", **of) == 3000
    assert {
        sample.name for metric in telemetry.registry.collect() for sample in metric.samples
    } >= {health.name for health in (*GAUGES, *COUNTERS)}
    produce(bed.client, [Minute(BASE + n * 60, 10.0, 5.0) for n in range(60)])
    follower.recompute(BASE, end)
    await watch.once()
    assert value("burning", **of, severity="page") == 1, "asked again too early"
    clock[0] += 31
    await watch.once()
    assert value("burning", **of, severity="page") == 0
    assert value("joules_total", **of) == 3000
    assert b"wattshed_slo_outcomes_total" in generate_latest(telemetry.registry)
    reader.close()


def test_counters_forget_no_hour_that_they_leave_behind(bed: Bed) -> None:
    adopt(bed.client, _slo())
    produce(bed.client, [Minute(BASE + n * HOUR_S, 10.0, 1.0) for n in range(72)])
    follower = Follower(bed.client, BASE)
    follower.all(BASE + 72 * HOUR_S)
    counted = Counted()
    follower.recompute(BASE, BASE + 72 * HOUR_S)
    found = [counted.look(bed.client, BASE + n * HOUR_S)["a", "me"][0] for n in (0, 10, 71)]
    assert found == [10, 110, 720]
