"""Published figures out of raw logs, through the production writer and ledger, in any order."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.fixtures.stores import Stores

from wattshed_collector.receivers import mlperf
from wattshed_collector.validate import Answer, answer, chunks, validate, write
from wattshed_exporter.model import Batch

if TYPE_CHECKING:
    from tests.collector.conftest import Beds

LLAMA = "mlperf-inference/h200x8_llama2-70b_server"
INFERENCE = (
    LLAMA,
    "mlperf-inference/h200x8_sdxl_server",
    "mlperf-inference/b200x8_whisper_offline",
    "mlperf-inference/dgx-a100_bert-99_offline",
    "mlperf-inference/xavier-nx_resnet50_offline",
)
TRAINING = "mlperf-training/smc-ac-power/results/1xSMC-H100-SXM-80GB/llama2_70b_lora"
TINY = (
    "mlperf-tiny/Krai_NUCLEO-L4R5ZI_X-CUBE-AI-8.0_kws",
    "mlperf-tiny/STMicroelectronics_NUCLEO_H7A3ZI_Q_vww",
    "mlperf-tiny/STMicroelectronics_NUCLEO_U575ZI_Q_ad",
)


Charge = Callable[[mlperf.Result, Iterable[Iterable[Batch]]], Answer]


@pytest.fixture(scope="module")
def charge(beds: Beds) -> Charge:
    """Do what ``validate`` does in an empty store, whatever is delivered, charged each time."""

    def charge(result: mlperf.Result, deliveries: Iterable[Iterable[Batch]]) -> Answer:
        bed = beds.take()
        try:
            ledger = bed.ledger()
            for batches in deliveries:
                write(bed.store, batches, ledger)
                assert bed.client.rows("SELECT sum(joules) > 0 FROM charge_1h FINAL") == [(True,)]
            return answer(bed.client, result)
        finally:
            beds.give_back(bed)

    return charge


@pytest.fixture(scope="module")
def validated(data: Path, charge: Charge) -> Callable[[str], Answer]:
    @cache
    def validated(folder: str) -> Answer:
        result = mlperf.read(data / folder)
        return charge(result, [chunks(result.batch)])

    return validated


def test_llama_on_eight_h200(data: Path, validated: Callable[[str], Answer]) -> None:
    found = validated(LLAMA)
    assert found["kind"] == "mlperf-inference"
    assert found["official"]["value"] == pytest.approx(6280.214, rel=1e-4)
    assert found["official"]["unit"] == "W"
    # The true window, written down once more: 2500 s at about 6280 W, each token counted.
    assert found["energy_joules"] == pytest.approx(trapezoid(data / LLAMA), rel=1e-9)
    assert found["energy_joules"] == pytest.approx(15_700_327, rel=1e-6)
    token = found["outcomes"]["token_out"]
    assert token["joules_per_outcome"] == found["energy_joules"] / token["count"]
    assert token["joules_per_outcome"] == pytest.approx(0.27418, rel=1e-4)
    assert found["unknown_seconds"] == 0
    assert found["before_window_joules"] > 0


def trapezoid(folder: Path) -> float:
    """Joules of the measured window of an inference folder, straight from the readings."""
    result = mlperf.read(folder)
    (run,) = result.runs
    start, end = run.window_start_ms, run.window_end_ms
    points = [(t.ts_ms, t.power_watts) for t in result.batch.ticks if t.power_watts is not None]
    total = 0.0
    for (t0, w0), (t1, w1) in pairwise(points):
        left, right = max(t0, start), min(t1, end)
        if left < right:
            middle = w0 + (w1 - w0) / (t1 - t0) * ((left + right) / 2 - t0)
            total += middle * (right - left) / 1000
    return total


def test_training_on_one_node(validated: Callable[[str], Answer]) -> None:
    found = validated(TRAINING)
    assert found["kind"] == "mlperf-training"
    assert found["official"]["value"] == pytest.approx(12_127_904, rel=1e-4)
    assert found["official"]["unit"] == "J"
    assert len(found["runs"]) == 10
    assert found["energy_joules"] == pytest.approx(
        math.fsum(r["energy_joules"] for r in found["runs"])
    )


@pytest.mark.parametrize("folder", TINY)
def test_tiny(data: Path, validated: Callable[[str], Answer], folder: str) -> None:
    found = validated(folder)
    text = (data / folder / "results.txt").read_text()
    published = re.search(r"Median energy cost is ([\d.]+) uJ/inf", text)
    assert published
    assert found["official"]["published"] == float(published[1])
    assert found["official"]["value"] == pytest.approx(found["official"]["published"], rel=1e-3)
    inference = found["outcomes"]["inference"]
    assert inference["joules_per_outcome"] * 1e6 == pytest.approx(
        found["official"]["value"], rel=1e-2
    )


@pytest.mark.parametrize("folder", INFERENCE)
def test_every_inference_run_answers(
    data: Path, validated: Callable[[str], Answer], folder: str
) -> None:
    found = validated(folder)
    assert found["energy_joules"] == pytest.approx(trapezoid(data / folder), rel=1e-9)
    assert found["mean_power_watts"] == pytest.approx(found["official"]["value"], rel=2e-3)
    window = found["window"]
    assert found["known_seconds"] == pytest.approx(window["end"] - window["start"], abs=1e-6)
    for counted in found["outcomes"].values():
        assert counted["joules_per_outcome"] * counted["count"] == pytest.approx(
            found["energy_joules"]
        )


def messy(batch: Batch, dice: random.Random) -> Iterator[Batch]:
    """Everything but the ticks at once; the ticks shuffled, a tenth of them twice."""
    ticks = list(batch.ticks)
    ticks += dice.sample(ticks, len(ticks) // 10)
    dice.shuffle(ticks)
    yield replace(batch, ticks=())
    size = -(-len(ticks) // 7)
    for at in range(0, len(ticks), size):
        yield Batch(ticks=tuple(ticks[at : at + size]))


def alike(found: Answer, expected: Answer) -> None:
    """Every number of two answers is the same to 1e-9."""
    ours, theirs = numbers(found), numbers(expected)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value == pytest.approx(theirs[name], rel=1e-9, abs=1e-9), name


def numbers(document: object, name: str = "") -> dict[str, float]:
    if isinstance(document, dict):
        return {k: v for n, d in document.items() for k, v in numbers(d, f"{name}.{n}").items()}
    if isinstance(document, list):
        return {k: v for n, d in enumerate(document) for k, v in numbers(d, f"{name}.{n}").items()}
    return {name: float(document)} if isinstance(document, int | float) else {}


@pytest.mark.parametrize("folder", [LLAMA, TRAINING])
def test_shuffled_and_repeated_is_the_same(
    data: Path, charge: Charge, validated: Callable[[str], Answer], folder: str
) -> None:
    result = mlperf.read(data / folder)
    alike(charge(result, [messy(result.batch, random.Random(7))]), validated(folder))


@pytest.mark.parametrize("folder", [LLAMA, TRAINING, TINY[2]])
def test_one_part_an_hour_late_is_the_same(
    data: Path, charge: Charge, validated: Callable[[str], Answer], folder: str
) -> None:
    """The ledger has charged what it knew before the last third comes."""
    dice = random.Random(8)
    result = mlperf.read(data / folder)
    times = sorted(tick.ts_ms for tick in result.batch.ticks)
    late_from = max(times[len(times) * 2 // 3], times[-1] - 3_600_000)
    early = tuple(t for t in result.batch.ticks if t.ts_ms < late_from)
    late = tuple(t for t in result.batch.ticks if t.ts_ms >= late_from)
    assert early
    assert late
    parts = [messy(replace(result.batch, ticks=ticks), dice) for ticks in (early, late)]
    alike(charge(result, parts), validated(folder))


def test_a_throw_away_store_leaves_nothing(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    validated: Callable[[str], Answer],
    stores: Stores,
) -> None:
    expected = validated(INFERENCE[-1])
    stores.let_go()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    alike(validate(data / INFERENCE[-1]), expected)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_folder_is_told_file_and_line(data: Path, tmp_path: Path) -> None:
    with pytest.raises(mlperf.ResultError, match="is no MLPerf result folder"):
        validate(tmp_path)
    (tmp_path / "spl.txt").write_text("Time,nonsense\n")
    with pytest.raises(mlperf.ResultError, match=str(tmp_path)):
        validate(tmp_path)
