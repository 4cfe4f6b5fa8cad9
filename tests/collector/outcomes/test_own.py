"""Rules that an operator writes: what they match, how they are told apart, what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.fixtures.pages import line

from wattshed_collector.config import PREFIX, Config, OutcomeRule
from wattshed_collector.normalise.samples import samples
from wattshed_collector.outcomes.book import named
from wattshed_collector.outcomes.own import book_of, servers
from wattshed_collector.outcomes.readings import Reading, readings
from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import load

PAGE = Path(__file__).parents[3] / "docs" / "OUTCOMES.md"
IMAGES = "".join(
    line("diffusion_images_total", count, result=result, size=size, worker=worker, checkpoint="xl")
    for count, result, size, worker in (
        (10, "ok", "512", "a"),
        (20, "ok", "1024", "a"),
        (40, "ok", "1024", "b"),
        (80, "ok", "64", "b"),
        (160, "failed", "512", "b"),
    )
)


def made(page: str, **rule: object) -> list[Reading]:
    told = OutcomeRule(metric="diffusion_images_total", kind="image", **rule)  # type: ignore[arg-type]
    assert not told.problems()
    rows = {said.series: said.value for said in samples(page, 0)}
    return list(readings(named((), servers((told,))), rows))


def test_each_series_is_a_counter_unless_labels_are_named() -> None:
    assert sorted(reading.value for reading in made(IMAGES)) == [10, 20, 40, 80, 160]
    by_worker = made(IMAGES, source_labels=("worker",), labels={"result": "ok"})
    assert {r.labels["worker"]: r.value for r in by_worker} == {"a": 30, "b": 120}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"result": "ok"}, 150),
        ({"result": "!=ok"}, 160),
        ({"size": "=~512|1024"}, 230),
        ({"size": "!~5.*"}, 140),
        ({"warmup": "!=1"}, 310),
        ({"warmup": "1"}, 0),
        ({"result": "o."}, 0),
    ],
)
def test_labels_that_have_to_match(labels: dict[str, str], expected: float) -> None:
    assert sum(reading.value for reading in made(IMAGES, labels=labels)) == expected


def test_scale_and_model() -> None:
    (reading,) = made(
        IMAGES,
        labels={"size": "512", "result": "ok"},
        source_labels=("worker",),
        scale=0.5,
        model_label="checkpoint",
    )
    assert reading.value == 5
    assert reading.server.model_of(reading.labels) == "xl"


def test_no_other_spelling_of_a_name_is_taken() -> None:
    assert not made(IMAGES.replace("images_total", "images"))


def told(folder: Path, text: str) -> Config:
    file = folder / "c.yaml"
    file.write_text(text)
    return load(Config, ["--config", str(file)], {}, prog="wattshed-collector", prefix=PREFIX)


def test_the_documentations_example(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    config = told(tmp_path, text)
    assert [job.name for job in config.scrape.jobs] == [
        job["name"] for job in yaml.safe_load(text)["scrape"]["jobs"]
    ]
    chat, images = map(book_of, config.scrape.jobs)
    assert "vllm:prompt_tokens_total" in chat.counters
    assert images.counters == {"diffusion_images_total"}
    rows = {said.series: said.value for said in samples(IMAGES, 0)}
    assert {r.labels["worker"]: r.value for r in readings(images, rows)} == {"a": 30, "b": 40}


@pytest.mark.parametrize(
    ("job", "problem"),
    [
        ("outcomes: [vlm]", "outcomes: job 'j': 'vlm' is none of auto, none, vllm"),
        ("workload: 'k8s/{pod'", "has a brace that is none of a label's"),
        ("workload: 'k8s/{a-b}'", "'a-b' is no name of a label"),
        ("outcome_rules: [{metric: a b, kind: image}]", "'a b' is no name of a metric"),
        ("outcome_rules: [{metric: a, kind: Big Image}]", "is no lower case word"),
        ("outcome_rules: [{metric: a, kind: i, labels: {x: '=~('}}]", "is no regular expression"),
        ("outcome_rules: [{metric: a, kind: i, labels: {a-b: x}}]", "is no name of a label"),
        ("outcome_rules: [{metric: a, kind: i, scale: 0}]", "scale: 0 is not above 0"),
        ("outcome_rules: [{metric: a, kind: i, model: x}]", "unknown key model"),
    ],
)
def test_what_is_wrong_is_said_at_the_start(job: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        told(tmp_path, f"scrape: {{jobs: [{{name: j, {job}}}]}}")


def test_so_it_is_of_what_is_forwarded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        told(tmp_path, "outcomes: {forwarded: [tgi, tgt], workload: '{'}")
    assert len(caught.value.problems) == 2
