"""All dialects together: however a sender cuts and orders them, the store ends up with the same."""

from __future__ import annotations

import random
from functools import cache
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.pages import AT, STEP, Reader, dcgm, jetson, kepler, line, merged

from wattshed_collector.normalise.dialect import Origin, Sample
from wattshed_collector.normalise.foreign import BY_METRIC, DIALECTS
from wattshed_collector.normalise.samples import samples
from wattshed_exporter.model import Allocation

SPLIT = Origin("n1:9400", interval_ms=STEP, whole=False)
TIMES = tuple(AT - STEP // 2 + n * STEP for n in range(4))


def scrape(at_ms: int) -> list[Sample]:
    """One instant of a site with every exporter; a pod comes, one goes, and one has two halves."""
    n = (at_ms - TIMES[0]) // STEP
    pod = {"namespace": "ml", "container": "main"}
    text = dcgm("GPU-a", 100 + n, 10**9 + 10**6 * n, pod=f"p{n // 2}", **pod)
    for name in ("x", "y"):
        text += dcgm("GPU-s", 50, 10**9 + 10**6 * n, pod=name, **pod)
    text += kepler(1000 + 50 * n, 400 + 20 * n, {"a": 10.0 * n, "b": 100 + 5.0 * n, f"c{n}": 1.0})
    text += line("nvidia_smi_power_draw_watts", 70 + n, uuid="00-b")
    text += line("nvidia_smi_power_draw_instant_watts", 75 + n, uuid="00-b")
    for partition, watts in (("0", 500 + n), ("1", 0)):
        board = {"serial_number": "S1", "gpu_partition_id": partition}
        text += line("gpu_package_power", watts, pod=f"q{partition}", **board, **pod)
        text += line("gpu_power_usage", watts + 7, pod=f"q{partition}", **board, **pod)
    text += line(
        "node_rapl_package_joules_total", 5 + n, index="0", path="/p/intel-rapl:0", node="m"
    )
    text += line(
        "node_rapl_core_joules_total", 2 + n, index="0", path="/p/intel-rapl:0:0", node="m"
    )
    text += jetson({"VDD_IN": 5000.0 + n, "VDD_SOC": 1000.0})
    text += line("all_smi_gpu_power_consumption_watts", 9 + n, gpu_uuid="GPU-z", hostname="n9")
    return samples(text, at_ms)


@cache
def in_order() -> dict[object, object]:
    reader = Reader(SPLIT)
    return merged([reader.samples(scrape(at_ms)) for at_ms in TIMES])


def test_the_site_has_every_dialect_of_others() -> None:
    names = {said.series.name for said in scrape(AT)}
    spoken = {BY_METRIC[name].name for name in names if name in BY_METRIC}
    assert spoken == {dialect.name for dialect in DIALECTS} - {"wattshed"}
    held = [a for a in in_order().values() if isinstance(a, Allocation)]
    assert {a.workload.rpartition("/")[2] for a in held} >= {"p0", "p1", "x", "y", "q0", "a", "b"}


@settings(max_examples=25)
@given(st.randoms(use_true_random=False), st.integers(1, 70))
def test_order_splits_and_repeats_change_nothing(rng: random.Random, size: int) -> None:
    reader = Reader(SPLIT)
    found = []
    for at_ms in TIMES:
        said = scrape(at_ms)
        said += rng.sample(said, 9)
        rng.shuffle(said)
        for at in range(0, len(said), size):
            for _ in range(rng.choice((1, 2))):
                found.append(reader.samples(said[at : at + size]))
        found.append(reader.samples(rng.sample(said, 7)))
    assert merged(found) == in_order()


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_a_backlog_in_shards_measures_the_same(rng: random.Random) -> None:
    """Each shard has some of the series, in order of time, and one may be far ahead of another."""
    shards: list[list[Sample]] = [[], [], []]
    for at_ms in TIMES:
        for said in scrape(at_ms):
            shards[crc32(repr((said.series.name, said.series.key)).encode()) % 3].append(said)
    reader, found = Reader(SPLIT), []
    while any(shards):
        shard = rng.choice([shard for shard in shards if shard])
        size = rng.randint(1, 60)
        found.append(reader.samples(shard[:size]))
        del shard[:size]
    energies = {key: value for key, value in merged(found).items() if "energy_uj" in key}  # type: ignore[operator]
    assert energies == {k: v for k, v in in_order().items() if "energy_uj" in k}  # type: ignore[operator]
