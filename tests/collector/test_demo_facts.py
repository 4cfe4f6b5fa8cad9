"""What the demo tells its collector: documents that it takes, said once, and all called made up."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from wattshed_collector import slo
from wattshed_collector.cli import demo_facts
from wattshed_collector.lifecycle.embodied import table
from wattshed_collector.lifecycle.told import from_documents
from wattshed_collector.normalise import json_documents
from wattshed_exporter.sources.fleet import MACHINES

NOW = 1_760_097_623.0
"""2025-10-10 12:00:23 UTC."""
METHOD = "told_of_model"


class Recorded:
    """A collector that keeps what it is told and gives it back."""

    def __init__(self) -> None:
        self.factors: list[dict[str, Any]] = []
        self.scores: list[dict[str, Any]] = []
        self.expected: list[dict[str, Any]] = []
        self.hardware: list[dict[str, Any]] = []
        self.posts = 0

    def get(self, path: str, **query: str) -> Any:
        if path == "/v1/devices":
            return {"devices": [row | {"embodied_method": METHOD} for row in self.hardware]}
        return {"entries" if path == "/v1/expected-idle" else "rows": self._of(path)}

    def post(self, path: str, document: Any) -> Any:
        self.posts += 1
        self._of(path).extend(document)

    def _of(self, path: str) -> list[dict[str, Any]]:
        known = {"factors": self.factors, "quality": self.scores, "expected-idle": self.expected}
        known["devices"] = self.hardware
        return known[path.removeprefix("/v1/")]


def test_the_collector_takes_the_factors_and_they_cover_the_past_and_a_week() -> None:
    documents = demo_facts.factors(NOW - 86_400, NOW + 7 * 86_400)
    read = json_documents.factors(json.dumps(documents).encode())
    assert {factor.source for factor in read} == {"simulated"}
    for kind in ("pue", "price", "power_budget_watts", "carbon_g_per_kwh"):
        for site in ("dublin", "reno"):
            starts = [f.start_s for f in read if (f.kind, f.site) == (kind, site)]
            assert min(starts) <= NOW - 86_400
    last = max(f.start_s for f in read if f.kind == "carbon_g_per_kwh")
    assert last >= NOW + 7 * 86_400 - 3600


def test_prices_change_twice_a_day_and_carbon_by_the_hour() -> None:
    found = demo_facts.factors(NOW, NOW + 1)
    prices = [row for row in found if row["kind"] == "price" and row["site"] == "dublin"]
    assert [(row["start"] % 86_400 // 3600, row["value"]) for row in prices] == [
        (0, 0.21), (7, 0.32), (22, 0.21)
    ]  # fmt: skip
    carbon = [row["value"] for row in found if row["kind"] == "carbon_g_per_kwh"]
    assert len(carbon) == 48
    assert all(200 < value < 560 for value in carbon)


def test_the_collector_takes_the_scores_and_none_is_of_the_future() -> None:
    body = json.dumps(demo_facts.scores(NOW)).encode()
    read = json_documents.scores(body, NOW)
    assert {score.note for score in read} == {"simulated"}
    assert len([score for score in read if score.kind == "calibration"]) == 5


def test_one_model_drifted_beyond_the_limit_and_the_others_did_not() -> None:
    drifted = []
    for model, precision, _, better, calibrated, *_ in demo_facts.CALIBRATIONS:
        rows = [
            row
            for row in demo_facts.scores(NOW)
            if (row["model"], row["precision"]) == (model, precision)
        ]
        worse = (calibrated - rows[-1]["score"]) * (1 if better == "higher" else -1)
        drifted += [(model, precision)] * (worse / calibrated > 0.01)
    assert drifted == [("qwen2.5-coder-32b", "fp8")]


def test_the_objectives_are_well_formed_and_can_burn() -> None:
    found, problems = slo.parse(yaml.safe_load(demo_facts.SLOS))
    assert problems == []
    assert [note for one in found for note in one.notes()] == []
    assert len(found) == 3


def test_the_collector_takes_whose_idleness_is_expected() -> None:
    (entry,) = json_documents.expected(json.dumps(demo_facts.expected(NOW, 24)).encode(), NOW)
    assert (entry.workload, entry.said_by) == ("nb-vision-3", "simulated")
    assert entry.since_s < NOW < (entry.until_s or 0)


def test_every_model_that_computes_has_a_figure_told_or_of_the_table() -> None:
    told = {one.model: one.facts for one in from_documents(demo_facts.hardware())}
    assert {facts["embodied_source"] for facts in told.values()} == {"simulated"}
    for model in {board.model for machine in MACHINES for board in machine.boards} - told.keys():
        assert any(re.search(one.pattern, model.lower()) for one in table()), model


def test_what_the_collector_knows_is_not_said_again() -> None:
    collector = Recorded()
    demo_facts.tell(collector, NOW, 24)
    assert collector.posts == 4
    demo_facts.tell(collector, NOW + 60, 24)
    assert collector.posts == 4
    before = len(collector.factors)
    demo_facts.tell(collector, NOW + 86_400, 24)
    assert collector.posts == 5
    added = collector.factors[before:]
    assert {(row["kind"], row["start"] // 86_400) for row in added} == {
        (kind, int(NOW // 86_400) + 8) for kind in ("price", "carbon_g_per_kwh")
    }
