"""What is said twice counts once: pairs of Prometheus servers, two ways, two exporters."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.pages import AT, STEP, Reader, dcgm, kepler, line, merged

from wattshed_collector.normalise.dialect import Origin, Sample, Series
from wattshed_collector.normalise.foreign import BY_METRIC, KEPT_SCRAPES, KEPT_TARGETS, Foreign
from wattshed_collector.normalise.precedence import LONGEST_MS, Precedence
from wattshed_collector.normalise.samples import samples
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick

WRITTEN = Origin(interval_ms=STEP, whole=False)
TARGET = {"instance": "n1:9400", "cluster": "green"}
POD = {"namespace": "ml", "container": "main"}
OFFSET = 4000
"""Of the second server of a pair, in milliseconds."""


def site(at_ms: int, **more: str) -> list[Sample]:
    n = (at_ms - AT) / STEP
    text = dcgm("GPU-a", 100, round(10**9 + 10**6 * n), pod="alone", **POD, **TARGET, **more)
    for slices, pod in enumerate("xy", 1):
        mig = {"GPU_I_ID": str(slices), "GPU_I_PROFILE": f"{slices}g.10gb", "pod": pod}
        text += dcgm("GPU-m", 50, round(10**9 + 10**6 * n), **mig, **POD, **TARGET, **more)
    return samples(text + kepler(1000 + 50 * n, 400 + 20 * n, {"a": 10 + 5 * n}, **more), at_ms)


def held(batches: list[Batch]) -> list[Allocation]:
    return [a for a in merged(batches).values() if isinstance(a, Allocation)]


def seconds(found: list[Allocation], workload: str) -> float:
    """Share times seconds of a workload."""
    mine = [a for a in found if a.workload.endswith(f"/{workload}")]
    return sum(a.share * (a.end_ms - a.start_ms) for a in mine) / 1000


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.booleans())
def test_a_pair_of_servers_is_one_that_scrapes_more_often(rng: random.Random, late: bool) -> None:
    """The requests of both overtake each other; each is in order of itself."""
    queues = {
        "a": [AT + n * STEP for n in range(6)],
        "b": [AT + n * STEP + OFFSET for n in range(6)],
    }
    reader, found = Reader(WRITTEN), list[Batch]()
    while any(queues.values()):
        names = [name for name, queue in queues.items() if queue]
        first = min(names, key=lambda name: queues[name][0])
        name = rng.choice(names) if late else first
        found.append(reader.samples(site(queues[name].pop(0), prometheus_replica=name)))
    energies = {
        key: value
        for key, value in merged(found).items()
        if isinstance(key, tuple) and key[0] == "GPU-a" and key[2] == "energy_uj"
    }
    assert len(energies) == 12
    assert list(dict(sorted(energies.items())).values()) == sorted(energies.values())  # type: ignore[type-var]
    assert reader.rejected == {}
    allocations = held(found)
    for workload, share in (("alone", 1), ("x", 1 / 7), ("y", 2 / 7)):
        mine = sorted(
            (a.start_ms, a.end_ms) for a in allocations if a.workload.endswith(f"/{workload}")
        )
        span = mine[-1][1] - mine[0][0]
        assert seconds(allocations, workload) <= share * span / 1000 + 1e-9
        assert all(end <= after for (_, end), (after, _) in pairwise(mine))
        if not late:
            assert span == 5 * STEP + OFFSET
            assert seconds(allocations, workload) == pytest.approx(share * span / 1000)


def test_a_pair_that_scrapes_in_the_same_millisecond_adds_nothing() -> None:
    once, pair = Reader(WRITTEN), Reader(WRITTEN)
    times = [AT + n * STEP for n in range(3)]
    single = [once.samples(site(at_ms)) for at_ms in times]
    double = [
        pair.samples([*site(at_ms, prometheus_replica=name), *site(at_ms, replica="r" + name)])
        for at_ms in times
        for name in "ab"
    ]
    assert merged(double) == merged(single)


def test_kepler_is_added_by_socket_and_by_nothing_else() -> None:
    """Whatever a pair calls its servers, the joules of a zone and of a pod are its own."""
    reader = Reader(WRITTEN)

    def scraped(n: int) -> Batch:
        rows = [kepler(1000 + 60 * n, 40 * n, {"a": 10.0 * n}, told=name) for name in "ab"]
        return reader.samples(samples("".join(rows), AT + n * STEP))

    scraped(0)
    batch = scraped(1)
    (package,) = [t for t in batch.ticks if t.device == "n1/kepler/package"]
    assert package.energy_uj == 1_060_000_000
    activities = {a.workload.rpartition("/")[2]: a.activity for a in batch.allocations}
    assert activities["a"] == 0.25


def test_a_target_that_is_scraped_is_not_taken_from_a_remote_write() -> None:
    foreign = Foreign()
    scraped = Reader(Origin("n1:9400", "gpu-one", interval_ms=STEP), foreign)
    written = Reader(WRITTEN, foreign)
    page = dcgm("GPU-a", pod="p", **POD, **TARGET)
    scraped.samples(samples(page, AT))
    assert not written.samples(samples(page, AT + 1000)).ticks
    assert written.rejected == {"measured_already": 2}
    other = page.replace("n1:9400", "n2:9400")
    assert written.samples(samples(other, AT + 1000)).ticks
    assert written.samples(samples(page, AT + 3 * STEP + 1)).ticks, "the scrapes ended"
    assert written.samples(samples(page, AT - 1)).ticks, "they had not begun"


def test_what_one_sender_writes_is_not_mixed_with_what_another_does() -> None:
    foreign = Foreign()
    mine, theirs = (Reader(replace(WRITTEN, sender=name), foreign) for name in ("a", "b"))
    page = dcgm("GPU-a", pod="p", **POD, **TARGET)
    mine.samples(samples(page, AT))
    # Values that are larger, and later scrapes than are kept of a thing.
    for n in range(2 * KEPT_SCRAPES):
        theirs.samples(samples(dcgm("GPU-a", 999, pod="q", **POD, **TARGET), AT + n * STEP))
    batch = mine.samples(samples(page, AT + STEP))
    assert [tick.power_watts for tick in batch.ticks] == [100.0]
    (held,) = batch.allocations
    assert (held.start_ms, held.end_ms) == (AT, AT + STEP)


def test_targets_that_come_and_go_do_not_fill_the_memory() -> None:
    foreign = Foreign()
    for n in range(KEPT_TARGETS + 5):
        foreign.took(Origin(f"pod-{n}:9400", interval_ms=STEP), AT, (), ())
    written = Reader(WRITTEN, foreign)
    for n, is_known in ((KEPT_TARGETS + 4, True), (0, False)):
        page = dcgm(f"GPU-{n}", pod="p", **{**POD, **TARGET, "instance": f"pod-{n}:9400"})
        assert bool(written.samples(samples(page, AT)).ticks) is not is_known


def test_our_exporter_is_believed_whichever_stands_first_in_a_request() -> None:
    device = {"device": "GPU-a", **TARGET}
    ours = line("wattshed_device_info", 1, node="n1", source="nvml", kind="gpu", **device)
    reader = Reader(WRITTEN)
    for n in range(3):
        at_ms = AT + n * STEP
        ours_now = ours + line("wattshed_energy_joules_total", 500 + 1500 * n, **device)
        ours_now += line("wattshed_reading_timestamp_seconds", at_ms / 1000 - 1, **device)
        batch = reader.samples(samples(dcgm("GPU-a", pod="p", **POD) + ours_now, at_ms))
        assert [(t.ts_ms, t.energy_uj) for t in batch.ticks] == [
            (at_ms - 1000, (500 + 1500 * n) * 1_000_000)
        ]
        assert batch.allocations == ()
    assert reader.rejected == {"measured_already": 6}


def test_a_thing_has_no_more_rows_than_can_be_meant() -> None:
    reader = Reader(WRITTEN)
    found = [
        Sample(Series("DCGM_FI_DEV_POWER_USAGE", {"UUID": "GPU-a", "pod": str(n)}), 50.0, AT)
        for n in range(10_003)
    ]
    (tick,) = reader.samples(found).ticks
    assert tick.power_watts == 50.0
    assert reader.rejected == {"too_many_series": 3}


LABELS = st.fixed_dictionaries(
    {},
    optional={
        name: st.text(max_size=8) | st.sampled_from(["9" * 5000 + "g.", "7g.", "package", "GPU-a"])
        for name in (
            *("UUID", "uuid", "gpu_uuid", "serial_number", "GPU_I_ID", "GPU_I_PROFILE", "pod"),
            *("zone", "path", "pod_name", "state", "device", "kind", "instance", "rapl_zone"),
            *("machine_part", "statistic", "chip", "power_supply", "gpu_partition_id", "hpc_job"),
        )
    },
)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(BY_METRIC)),
            LABELS,
            st.floats() | st.sampled_from([1e308, -1.0, 0.0, 5.0]),
            st.sampled_from([AT, AT + STEP, 0, -(2**63), 2**63 - 1]),
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_nothing_that_is_said_breaks_the_reading(
    rows: list[tuple[str, dict[str, str], float, int]], whole: bool
) -> None:
    """What a request breaks is sent again for ever."""
    reader = Reader(Origin("n1:9400", interval_ms=STEP, whole=whole))
    batch = reader.samples([Sample(Series(name, labels), v, at) for name, labels, v, at in rows])
    assert len(batch.ticks) <= len(rows)


def test_the_newest_of_ticks_and_rows_says_until_when_ours_speaks() -> None:
    batch = Batch(
        devices=(Device("d", Kind.GPU, "n", "nvml"),),
        ticks=(Tick("d", AT, 1000, Method.COUNTER, 1.0),),
    )
    precedence = Precedence()
    precedence.saw(batch, frozenset(), AT + LONGEST_MS)
    assert not precedence.allows("d", 1, AT + 2 * LONGEST_MS, 1000)
    assert precedence.allows("d", 1, AT + 2 * LONGEST_MS + 1, 1000)
