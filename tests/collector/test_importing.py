"""Files into a store: checked like all else, in portions, and twice is once."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector.importing import LONGEST_WAIT_S, PORTION, Importer
from wattshed_collector.normalise.dialect import POWER
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.receivers.files import Place, Reading, Tally, paced
from wattshed_collector.receivers.files.mapping import Meaning
from wattshed_collector.receivers.files.nvidia_smi import Gpus, Log
from wattshed_collector.receivers.files.reading import Told
from wattshed_collector.receivers.files.table import Table
from wattshed_collector.receivers.files.times import Clock, beats
from wattshed_exporter.model import Batch, stable_id

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

NOW = 1_764_130_000.0
START = 1_764_126_000_000
KEEP = Limits(oldest_seconds=86400.0)
MEANING = Meaning({"time": "t", "power_watts": "p", "device": "d"}, {"kind": "gpu"})


def told(text: str, tally: Tally) -> Iterator[Told]:
    return paced(Table(MEANING, Place("n1"), tally).read(enumerate(text.split("\n"), 1)))


def taken(
    text: str,
    deliver: Callable[[Batch], Mapping[str, int]],
    monotonic: Callable[[], float] = time.monotonic,
) -> tuple[Importer, Tally]:
    tally = Tally()
    importer = Importer(Normaliser(KEEP, lambda: NOW), deliver, tally, monotonic)
    importer.take(told(text, tally))
    return importer, tally


def test_the_rules_of_the_receivers_with_the_line_of_each() -> None:
    rows = ["t,p,d", f"{START},1,a", f"{START + 1000},-1,a", f"{START + 2000},1e99,a"]
    rows += [
        f"{START - 90_000_000},1,a",
        f"{START + 9_000_000},1,a",
        f"{START + 3000},-1,a",
        "x,1,a",
    ]
    batches: list[Batch] = []

    def deliver(batch: Batch) -> Mapping[str, int]:
        batches.append(batch)
        return {"full": 2}

    importer, tally = taken("\n".join(rows), deliver)
    assert [(t.ts_ms, t.power_watts) for b in batches for t in b.ticks] == [(START, 1.0)]
    said = {reason: (one["count"], one["line"]) for reason, one in tally.document().items()}
    assert said == {
        "negative": (2, 3),
        "out_of_range": (1, 4),
        "too_old": (1, 5),
        "future_timestamp": (1, 6),
        "bad_time": (1, 8),
        "full": (2, None),
    }
    assert (importer.done.readings, importer.done.ticks) == (6, 1)
    assert importer.done.devices == {"n1/csv/a"}
    assert importer.done.first_ms == importer.done.last_ms == START


def test_portions_are_bounded() -> None:
    rows = [f"{START + n * 10},1,a" for n in range(2 * PORTION + 1)]
    sizes: list[int] = []

    def deliver(batch: Batch) -> Mapping[str, int]:
        sizes.append(len(batch.ticks))
        return {}

    taken("\n".join(["t,p,d", *rows]), deliver, lambda: 0.0)
    assert sizes == [PORTION, PORTION, 1]


def test_a_live_log_is_written_while_it_goes_on() -> None:
    sizes: list[int] = []
    seconds = itertools.count()

    def deliver(batch: Batch) -> Mapping[str, int]:
        sizes.append(len(batch.ticks))
        return {}

    rows = [f"{START + n * 10},1,a" for n in range(20)]
    taken("\n".join(["t,p,d", *rows]), deliver, lambda: float(next(seconds)))
    assert sum(sizes) == 20
    assert max(sizes) <= LONGEST_WAIT_S


def rows(bed: Bed) -> list[tuple[Any, ...]]:
    sql = "SELECT device_id, ts, power_uw, interval_ms, method FROM tick FINAL ORDER BY ALL"
    return bed.client.rows(sql)


def test_twice_is_once_whatever_lies_between(bed: Bed) -> None:
    dice = random.Random(1)
    lines = [
        f"{START + second * 1000},{dice.uniform(50, 700):.3f},{name}"
        for second in range(400)
        for name in "ab"
        if dice.random() > 0.1
    ]
    writer = bed.writer()

    def deliver(batch: Batch) -> Mapping[str, int]:
        writer.submit(batch).result(120)
        return {}

    taken("\n".join(["t,p,d", *lines]), deliver)
    once = rows(bed)
    bed.ledger().run()
    charged = bed.charged()
    assert len(once) == len(lines)
    assert {row[0] for row in once} == {stable_id("n1/csv/a"), stable_id("n1/csv/b")}
    # Again, then a part of it, then a longer file that begins alike.
    taken("\n".join(["t,p,d", *lines]), deliver)
    taken("\n".join(["t,p,d", *lines[: len(lines) // 2]]), deliver)
    writer.close()
    assert rows(bed) == once
    bed.ledger().run()
    assert bed.charged() == charged
    assert sum(joules for joules, _ in charged.values()) > 400 * 50


def test_energy_of_a_real_log_is_its_trapezoid(bed: Bed, data: Path) -> None:
    file = data / "nvml-vs-meter/5050_3090/gpudata.csv"
    tally = Tally()
    log = Log(Place("n1"), Clock(UTC), beats(None, None), tally, Gpus("desk"))
    readings = list(log.read(enumerate(file.read_text().split("\n"), 1)))
    writer = bed.writer()

    def deliver(batch: Batch) -> Mapping[str, int]:
        writer.submit(batch).result(120)
        return {}

    importer = Importer(Normaliser(Limits(oldest_seconds=0)), deliver, tally)
    importer.take(paced(readings))
    writer.close()
    bed.ledger().run()
    joules = sum(joules for joules, _ in bed.charged().values())
    assert joules == pytest.approx(trapezoid(readings), rel=1e-6)
    assert not tally.counts


def trapezoid(readings: list[Reading]) -> float:
    """Joules of the log, written down once more; of one millisecond the last reading stands."""
    watts = {r.ts_ms: {metric: value for metric, _, value in r.values}[POWER] for r in readings}
    return sum(
        (watts[a] + watts[b]) / 2 * (b - a) / 1000 for a, b in itertools.pairwise(sorted(watts))
    )
