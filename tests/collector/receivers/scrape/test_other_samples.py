"""What of pages is not about energy is kept by name, with the labels of its target."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from wattshed_collector.config import Job
from wattshed_collector.normalise.dialect import Origin
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.receivers.others import Others
from wattshed_collector.receivers.scrape.other_samples import OtherSamples
from wattshed_collector.receivers.scrape.pages import Pages
from wattshed_collector.receivers.scrape.relabel import Rules
from wattshed_collector.receivers.scrape.state import TargetState
from wattshed_collector.store.stacks import Rows, spread

NOW_MS = 1_763_856_000_000
LABELS = {"job": "j", "instance": "h:1", "rack": "r7"}
PAGE = b"""node_load1 3
vllm:requests{model="m",job="own",instance="x",exported_instance="y"} 2
go_goroutines 7
somebody_else 1
DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1"} 70.5
vllm:broken NaN
"""


def kept(*keep: str, most: int = 100) -> OtherSamples:
    return OtherSamples(Others(keep, most, Limits(), lambda: NOW_MS / 1000))


def target() -> TargetState:
    return TargetState(Origin("h:1"), Job(name="j"), Rules(()), LABELS, samples=6)


def told(frames: Sequence[Rows]) -> dict[str, tuple[dict[str, str], float]]:
    """Return labels and value by metric; all are of this scrape and of this job."""
    found: dict[str, tuple[dict[str, str], float]] = {}
    for frame in spread(frames):
        columns = {name: column.values.tolist() for name, column in frame.columns.items()}
        assert set(columns["ts"]) == {NOW_MS}
        assert set(columns["sender"]) == {"scrape:j"}
        rows = zip(columns["metric"], columns["labels"], columns["value"], strict=True)
        found |= {metric: (json.loads(labels), value) for metric, labels, value in rows}
    return found


def test_what_is_named_is_kept_with_the_labels_of_its_target() -> None:
    pages = Pages(
        Normaliser(Limits(), lambda: NOW_MS / 1000), Foreign(), kept("node_load*", "vllm:*")
    )
    read = pages.read(PAGE, NOW_MS, target())
    assert told(read.frames) == {
        "node_load1": (LABELS, 3.0),
        "vllm:requests": (
            {
                **LABELS,
                "model": "m",
                "exported_job": "own",
                "exported_exported_instance": "x",
                "exported_instance": "y",
            },
            2.0,
        ),
    }
    assert [tick.power_watts for tick in read.batch.ticks] == [70.5]
    assert (read.ignored, read.batch.rejected) == (1, {"unknown_metric": 1, "not_finite": 1})


def test_what_a_scrape_was_like_is_a_metric_as_any_other() -> None:
    rejected: Counter[str] = Counter()
    others = kept("up", "scrape_*")
    good = others.verdict(target(), NOW_MS, 0.25, rejected, up=True)
    assert told(good) == {
        "up": (LABELS, 1.0),
        "scrape_duration_seconds": (LABELS, 0.25),
        "scrape_samples_scraped": (LABELS, 6.0),
    }
    bad = told(others.verdict(target(), NOW_MS, 5.0, rejected, up=False))
    assert {name: value for name, (_, value) in bad.items()} == {
        "up": 0.0,
        "scrape_duration_seconds": 5.0,
    }
    for nothing in (kept(), kept("node_*"), OtherSamples()):
        assert nothing.verdict(target(), NOW_MS, 0.25, rejected, up=True) == ()
    assert kept("up", most=0).verdict(target(), NOW_MS, 0.25, rejected, up=True) == ()
    assert rejected == {"too_many_series": 1}
