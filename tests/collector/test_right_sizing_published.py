"""Published measurements beside each other: which batch size and limit, and which hardware."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.fixtures.zeus import Trained, trained

from wattshed_collector.quality import Score
from wattshed_collector.receivers import mlperf
from wattshed_collector.store import quality
from wattshed_collector.store.outcome_queries import Asked, per_outcome
from wattshed_exporter.model import Batch

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200  # 2026-01-15T10:00:00Z
TARGET = 0.6
NETWORK = "shufflenetv2"
OPTIMA = {
    ("V100", NETWORK): ("128", "V100 at 100 W"),
    ("A40", NETWORK): ("128", "A40 at 125 W"),
    ("P100", NETWORK): ("128", "P100 at 125 W"),
    ("V100", "ncf"): ("16384", "V100 at 150 W"),
}
"""The least joules to the target, read off the files with a spreadsheet's arithmetic."""
TASKS = (("cifar100", TARGET, ("v100", "a40", "p100")), ("movielens-1m", 0.41, ("v100",)))


def merged(batches: list[Batch]) -> Batch:
    return Batch(
        devices=tuple(d for batch in batches for d in batch.devices),
        ticks=tuple(t for batch in batches for t in batch.ticks),
        workloads=tuple(w for batch in batches for w in batch.workloads),
        allocations=tuple(a for batch in batches for a in batch.allocations),
        outcomes=tuple(o for batch in batches for o in batch.outcomes),
    )


@pytest.fixture(scope="module")
def runs(data: Path) -> list[Trained]:
    return [
        run
        for dataset, target, gpus in TASKS
        for gpu in gpus
        for run in trained(data / "zeus", gpu, dataset, target)
    ]


@pytest.fixture(scope="module")
def results(data: Path) -> dict[str, mlperf.Result]:
    """By the system under test, as the folders name it."""
    folders = sorted((data / "mlperf-inference").glob("*_*"))
    assert len(folders) == 5
    return {folder.name: mlperf.read(folder) for folder in folders}


@pytest.fixture(scope="module")
def charged(shared_bed: Bed, runs: list[Trained], results: dict[str, mlperf.Result]) -> Bed:
    """All of them in one store, each run at the same time as the others of its kind."""
    shared_bed.clean()
    measured = [_at(r.batch, name.partition("_")[0]) for name, r in results.items()]
    shared_bed.write(merged([run.batch(BASE * 1000) for run in runs]), merged(measured))
    shared_bed.ledger().run()
    said = [_score(run, "accuracy", TARGET, "higher") for run in runs]
    said += [_score(run, "seconds-to-target", run.seconds, "lower") for run in runs]
    quality.put(shared_bed.client, said, BASE)
    return shared_bed


def _at(batch: Batch, system: str) -> Batch:
    """Return a result at ``BASE``, by its system's name, which not each of these folders describes.

    They are years apart, and hours between them would be computed for nothing.
    """
    by_ms = BASE * 1000 - min(tick.ts_ms for tick in batch.ticks)
    return replace(
        batch,
        devices=tuple(replace(d, model=system) for d in batch.devices),
        ticks=tuple(replace(t, ts_ms=t.ts_ms + by_ms) for t in batch.ticks),
        allocations=tuple(
            replace(a, start_ms=a.start_ms + by_ms, end_ms=a.end_ms + by_ms)
            for a in batch.allocations
        ),
        outcomes=tuple(
            replace(o, ts_ms=o.ts_ms + by_ms, start_ms=(o.start_ms or 0) + by_ms)
            for o in batch.outcomes
        ),
    )


def _score(run: Trained, metric: str, score: float, better: str) -> Score:
    key = run.batch_size, run.hardware
    return Score(run.network, "", metric, score, better, BASE * 1000, "score", *key)


def compared(bed: Bed, metric: str, model: str) -> list[dict[str, Any]]:
    until = BASE + 24 * 3600
    return quality.pareto(bed.client, "job", metric, BASE, until, where={"ai_model": model})


def key(run: Trained) -> tuple[str, str]:
    return run.batch_size, run.hardware


def test_each_run_took_its_watts_times_its_seconds(charged: Bed, runs: list[Trained]) -> None:
    until = BASE + 24 * 3600
    for outcome in ("job", "epoch"):
        asked = Asked(("ai_model", *quality.WAY), BASE, until, (outcome,))
        found = {
            (r["ai_model"], r["batch_class"], r["hardware"]): r["joules_per_outcome_loaded"]
            for r in per_outcome(charged.client, asked)
        }
        wanted = {
            (run.network, *key(run)): run.joules / (run.epochs if outcome == "epoch" else 1)
            for run in runs
        }
        assert found == pytest.approx(wanted, rel=1e-8)


@pytest.mark.parametrize(("task", "optimum"), OPTIMA.items(), ids=lambda v: " ".join(v))
def test_the_optimum_of_batch_size_and_power_limit_comes_out(
    charged: Bed, runs: list[Trained], task: tuple[str, str], optimum: tuple[str, str]
) -> None:
    gpu, network = task
    here = [run for run in runs if (run.gpu, run.network) == task]
    least = min(here, key=lambda run: run.joules)
    rows = compared(charged, "accuracy", network)
    mine = [row for row in rows if row["hardware"].startswith(f"{gpu} ")]
    assert len(mine) == len(here)
    first = mine[0]
    assert (first["batch_class"], first["hardware"]) == key(least) == optimum
    assert first["joules_per_outcome_loaded"] == pytest.approx(least.joules, rel=1e-9)
    # At one accuracy, all but the cheapest way of all are dominated, by that way.
    assert [row["verdict"] for row in rows] == ["front"] + ["dominated"] * (len(rows) - 1)
    for row in rows[1:]:
        assert row["best_hardware"] == rows[0]["hardware"]
        saved = row["joules_per_outcome_loaded"] - rows[0]["joules_per_outcome_loaded"]
        assert row["saved_joules_per_outcome"] == saved


def test_energy_against_time_to_the_target_is_their_front(
    charged: Bed, runs: list[Trained]
) -> None:
    here = [run for run in runs if run.network == NETWORK]
    front = {
        key(run)
        for run in here
        if not any(
            other.joules <= run.joules
            and other.seconds <= run.seconds
            and (other.joules, other.seconds) != (run.joules, run.seconds)
            for other in here
        )
    }
    rows = compared(charged, "seconds-to-target", NETWORK)
    found = {(r["batch_class"], r["hardware"]) for r in rows if r["verdict"] == "front"}
    assert found == front
    assert 1 < len(front) < len(here) / 4


def test_published_systems_stand_side_by_side(
    charged: Bed, results: dict[str, mlperf.Result]
) -> None:
    asked = Asked(("ai_model", "hardware"), BASE, BASE + 24 * 3600, ("sample",))
    found = {
        f"{r['hardware']}_{r['ai_model']}": r["joules_per_outcome_loaded"]
        for r in per_outcome(charged.client, asked)
    }
    assert len(found) == len(results)
    for name, result in results.items():
        (run,) = result.runs
        assert result.official.unit == "W"
        # The meter's window is up to 1 % longer than what loadgen divides by for its own rate.
        rate = run.outcomes["sample"] / (run.window_end_ms - run.window_start_ms) * 1000
        joules = found[name.removesuffix("_offline").removesuffix("_server")]
        # The rule's mean of samples against the clipped window.
        assert joules == pytest.approx(result.official.value / rate, rel=1e-3)
