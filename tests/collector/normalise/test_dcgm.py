"""dcgm-exporter's pages: one board whatever is repeated, pods, jobs and slices as allocations."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.pages import AT, STEP, Reader, dcgm, line, merged

from wattshed_collector.normalise.dialect import Origin, Sample
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.normalise.samples import samples
from wattshed_collector.normalise.tenure import Tenure
from wattshed_exporter.model import Allocation, Batch, Kind, Method

BLANK = "9223372036854775794"


def pod(name: str, **more: str) -> dict[str, str]:
    return {"pod": name, "namespace": "ml", "container": "main", **more}


def held(batch: Batch) -> dict[str, Allocation]:
    return {a.workload.rpartition("/")[2]: a for a in batch.allocations}


def test_a_recorded_page(data: Path) -> None:
    page = (data / "recordings/dcgm-exporter/tesla-t4_driver-460_datadog/metrics.txt").read_text()
    reader = Reader()
    batch = reader.page(page)
    assert reader.rejected == {}
    (tick,) = [t for t in batch.ticks if t.energy_uj is not None]
    assert tick.device == "GPU-20c56d28-0da5-6d26-a36a-e7af1ce2586e"
    assert (tick.energy_uj, tick.power_watts) == (128_996_013_000, 8.969)
    assert (tick.utilization_ratio, tick.temperature_celsius) == (0.0, 25.0)
    device = next(d for d in batch.devices if d.key == tick.device)
    assert (device.kind, device.model, device.driver) == (Kind.GPU, "Tesla T4", "460.106.00")
    assert (device.method, device.node) == (Method.COUNTER, "n1"), "its Hostname is a container's"


@pytest.mark.parametrize("file", ["plain.txt", "kubernetes.txt"])
def test_recorded_blanks_are_nothing(file: str, data: Path) -> None:
    page = (data / "recordings/dcgm-exporter/readme_blank-sentinel" / file).read_text()
    uuid = "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52"
    extra = line("DCGM_FI_DEV_POWER_USAGE", BLANK, UUID=uuid, gpu="0")
    reader = Reader()
    assert reader.page(page + extra) == Batch()
    assert reader.rejected == {}


def test_recorded_mig_rows_are_one_board_in_any_order(data: Path) -> None:
    file = data / "recordings/dcgm-exporter/a30_mig_figures/power_rows.csv"
    rows = [
        line(
            "DCGM_FI_DEV_POWER_USAGE",
            row.pop("power_usage_w"),
            UUID=f"GPU-{row['gpu']}",
            modelName="NVIDIA A30",
            **row,
        )
        for row in csv.DictReader(file.read_text().splitlines())
    ]
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        batch = Reader().page("".join(rows))
        found = {tick.device: tick.power_watts for tick in batch.ticks}
        assert found == {"GPU-0": 52.746, "GPU-1": 56.127}


def test_the_row_of_the_board_goes_before_those_of_its_instances() -> None:
    page = dcgm("GPU-a", 300, GPU_I_ID="1", GPU_I_PROFILE="1g.5gb") + dcgm("GPU-a", 299)
    (tick,) = Reader().page(page).ticks
    assert tick.power_watts == 299


def test_a_pod_alone_holds_the_gpu_until_a_scrape_does_not_show_it() -> None:
    reader = Reader()
    assert reader.page(dcgm(**pod("a"))).allocations == ()
    assert held(reader.page(dcgm(**pod("a")), AT + STEP)) == {
        "a": Allocation("GPU-a", "k8s//ml/a", AT, AT + STEP, 1.0, "dcgm_exporter")
    }
    gone = reader.page(dcgm(**pod("b")), AT + 2 * STEP)
    assert held(gone)["a"].end_ms == AT + 2 * STEP
    follows = held(reader.page(dcgm(), AT + 3 * STEP))
    assert follows == {
        "b": Allocation("GPU-a", "k8s//ml/b", AT + 2 * STEP, AT + 3 * STEP, 1.0, "dcgm_exporter")
    }
    assert reader.page(dcgm(), AT + 4 * STEP).allocations == ()


def test_an_allocation_begins_anew_at_the_full_hour_and_after_a_silence() -> None:
    reader = Reader()
    before = AT - STEP // 2
    reader.page(dcgm(**pod("a")), before)
    across = reader.page(dcgm(**pod("a")), before + STEP).allocations
    assert {(a.start_ms, a.end_ms) for a in across} == {(before, AT), (AT, before + STEP)}
    late = before + STEP + 3 * STEP + 1
    assert reader.page(dcgm(**pod("a")), late).allocations == ()
    (again,) = reader.page(dcgm(**pod("a")), late + 3 * STEP).allocations
    assert (again.start_ms, again.end_ms) == (late, late + 3 * STEP)


def test_after_a_restart_an_allocation_goes_on_where_the_store_knows_its_end() -> None:
    tenure = Tenure()
    tenure.learn([("GPU-a", "k8s//ml/a", AT + 1, AT + STEP, True)])
    reader = Reader(foreign=Foreign(tenure))
    (found,) = reader.page(dcgm(**pod("a")), AT + 3 * STEP).allocations
    assert (found.start_ms, found.end_ms) == (AT + 1, AT + 3 * STEP)


def test_after_a_long_restart_nobody_knows_who_held_it() -> None:
    tenure = Tenure()
    tenure.learn([("GPU-a", "k8s//ml/a", AT + 1, AT + STEP, True)])
    reader = Reader(foreign=Foreign(tenure))
    assert reader.page(dcgm(**pod("a")), AT + 5 * STEP).allocations == ()


def test_pods_that_share_by_turns_have_equal_parts_and_the_gpu_is_one() -> None:
    page = dcgm(**pod("a")) + dcgm(**pod("b"))
    page += "".join(line("DCGM_FI_DEV_GPU_UTIL", 80, UUID="GPU-a", **pod(n)) for n in "ab")
    reader = Reader()
    reader.page(page)
    batch = reader.page(page, AT + STEP)
    (tick,) = batch.ticks
    assert (tick.power_watts, tick.utilization_ratio) == (100.0, 0.8)
    assert {name: (a.share, a.activity) for name, a in held(batch).items()} == {
        "a": (0.5, None),
        "b": (0.5, None),
    }


def test_utilisation_told_apart_by_pod_is_their_activity() -> None:
    page = dcgm(**pod("a")) + dcgm(**pod("b"))
    page += line("DCGM_FI_DEV_GPU_UTIL", 60, UUID="GPU-a", **pod("a"))
    page += line("DCGM_FI_DEV_GPU_UTIL", 20, UUID="GPU-a", **pod("b"))
    reader = Reader()
    reader.page(page)
    batch = reader.page(page, AT + STEP)
    assert batch.ticks[0].utilization_ratio == pytest.approx(0.8)
    found = {name: (a.share, a.activity) for name, a in held(batch).items()}
    assert found == {"a": (0.5, 0.6), "b": (0.5, 0.2)}


def test_containers_of_one_pod_are_one_holder() -> None:
    page = dcgm(**pod("a")) + dcgm(**pod("a", container="other"))
    reader = Reader()
    reader.page(page)
    assert held(reader.page(page, AT + STEP))["a"].share == 1.0


def mig(name: str, instance: str, profile: str, active: float | None, **more: str) -> str:
    told = {"GPU_I_ID": instance, "GPU_I_PROFILE": profile, **pod(name), **more}
    page = dcgm(**told)
    if active is not None:
        page += line("DCGM_FI_PROF_GR_ENGINE_ACTIVE", active, UUID="GPU-a", gpu="0", **told)
    return page


def test_slices_are_shares_and_profiling_counts_by_their_size() -> None:
    page = mig("a", "1", "4g.20gb", 0.5) + mig("b", "2", "1g.5gb", 1.0)
    reader = Reader()
    reader.page(page)
    batch = reader.page(page, AT + STEP)
    (tick,) = batch.ticks
    assert tick.utilization_ratio == pytest.approx(0.5 * 4 / 7 + 1 / 7)
    found = held(batch)
    assert (found["a"].share, found["a"].activity) == pytest.approx((4 / 7, 2 / 7))
    assert (found["b"].share, found["b"].activity) == pytest.approx((1 / 7, 1 / 7))


def test_a_board_of_four_slices_is_divided_by_four() -> None:
    page = mig("a", "1", "1g.6gb", 1.0, modelName="NVIDIA A30")
    reader = Reader()
    reader.page(page)
    assert held(reader.page(page, AT + STEP))["a"].share == 0.25


def test_jobs_of_a_batch_system() -> None:
    reader = Reader(Origin("n1:9400", cluster="green", interval_ms=STEP))
    page = dcgm(hpc_job="4711")
    reader.page(page)
    batch = reader.page(page, AT + STEP)
    assert [a.workload for a in batch.allocations] == ["slurm/green/4711"]
    assert [(w.kind, w.instance, w.cluster) for w in batch.workloads] == [("job", "4711", "green")]


def test_the_exporters_own_pod_holds_nothing_and_exported_labels_go_first() -> None:
    own = {"pod": "nvidia-dcgm-exporter-x1", "namespace": "gpu", "container": "exporter"}
    idle = dcgm("GPU-idle", **own)
    busy = dcgm("GPU-busy", exported_pod="train", exported_namespace="ml", **own)
    reader = Reader()
    reader.page(idle + busy)
    batch = reader.page(idle + busy, AT + STEP)
    assert [(a.device, a.workload) for a in batch.allocations] == [("GPU-busy", "k8s//ml/train")]


def test_a_counter_that_falls_a_little_is_not_believed_one_that_restarts_is() -> None:
    reader = Reader()
    reader.page(dcgm("GPU-a", 100, 1_000_000))
    (tick,) = reader.page(dcgm("GPU-a", 100, 999_999), AT + STEP).ticks
    assert (tick.energy_uj, tick.power_watts) == (None, 100.0)
    assert reader.rejected == {"counter_fell": 1}
    (tick,) = reader.page(dcgm("GPU-a", 100, 10), AT + 2 * STEP).ticks
    assert tick.energy_uj == 10_000


def scrape(at_ms: int) -> list[Sample]:
    more = round((at_ms - AT) * 300)
    page = "".join(
        dcgm(
            "GPU-m",
            100 + n / 1000,
            10**9 + more + n,
            GPU_I_ID=str(n),
            GPU_I_PROFILE=f"{n}g.5gb",
            **pod(f"m{n}"),
        )
        + line(
            "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
            n / 10,
            UUID="GPU-m",
            gpu="0",
            Hostname="n1",
            GPU_I_ID=str(n),
        )
        for n in (1, 2, 4)
    )
    page += "".join(dcgm("GPU-t", 50, 10**9 + more, **pod(f"t{n}")) for n in (1, 2, 3))
    page += dcgm("GPU-e", 70, 10**9 + more, **pod("alone"))
    return samples(page, at_ms)


@settings(max_examples=40)
@given(st.randoms(use_true_random=False), st.lists(st.integers(1, 30), min_size=1, max_size=9))
def test_order_splits_and_repeats_change_nothing(rng: random.Random, sizes: list[int]) -> None:
    split = Origin("n1:9400", interval_ms=STEP, whole=False)
    whole, parts = Reader(split), Reader(split)
    expected, found = [], []
    for at_ms in (AT, AT + STEP, AT + 2 * STEP):
        said = scrape(at_ms)
        expected.append(whole.samples(said))
        said += rng.sample(said, 5)
        rng.shuffle(said)
        at = 0
        while at < len(said):
            size = sizes[at % len(sizes)]
            request = said[at : at + size]
            at += size
            found += [parts.samples(request) for _ in range(rng.choice((1, 1, 2)))]
    assert merged(found) == merged(expected)
    activities = [a.activity for a in merged(found).values() if isinstance(a, Allocation)]
    assert len([activity for activity in activities if activity is not None]) == 6
