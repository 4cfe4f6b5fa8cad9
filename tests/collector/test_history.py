"""Slurm's history against what nodes said: names, ends, gaps and shares, and nothing twice."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wattshed_collector.history import History
from wattshed_collector.receivers.sacct import Job
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick, Workload

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR_MS = 3_600_000
T0 = 1_767_225_600_000
END = T0 + HOUR_MS
Piece = tuple[str, str, int, int, float, str]


def gpu(node: str, index: int, cluster: str = "") -> Device:
    return Device(f"{node}-{index}", Kind.GPU, node, "nvml", name=f"gpu{index}", cluster=cluster)


def job(number: str = "7", nodes: tuple[str, ...] = ("n1",), **how: object) -> Job:
    usual = Job(number, "train", "ada", "physics", "gpu", "", nodes, T0, END, 2)
    return replace(usual, **how)  # type: ignore[arg-type]


def live(
    device: str, start: int, end: int, share: float = 1.0, key: str = "slurm/n1/7"
) -> Allocation:
    return Allocation(device, key, start, end, share, "slurm")


def imported(
    bed: Bed, jobs: Iterable[Job], cluster: str = ""
) -> tuple[dict[str, int], list[Batch]]:
    """Import jobs; return what was counted and what was written."""
    written: list[Batch] = []

    def deliver(batch: Batch) -> None:
        written.append(batch)
        bed.write(batch)

    history = History(bed.client, deliver, cluster)
    history.take(jobs)
    return {name: count for name, count in history.counted.items() if count}, written


def pieces(bed: Bed) -> list[Piece]:
    """What stands: device, workload, start and end after T0 in seconds, share, method."""
    rows = bed.client.rows(
        "SELECT d.key, w.key, toUnixTimestamp64Milli(a.start_ts), toUnixTimestamp64Milli(a.end_ts),"
        " a.share, a.method FROM v_allocation AS a"
        " INNER JOIN (SELECT device_id, key FROM device FINAL) AS d ON d.device_id = a.device_id"
        " INNER JOIN (SELECT workload_id, key FROM workload FINAL) AS w"
        " ON w.workload_id = a.workload_id ORDER BY 1, 2, 3"
    )
    return [
        (str(d), str(w), (s - T0) // 1000, (e - T0) // 1000, share, str(how))
        for d, w, s, e, share, how in rows
    ]


@pytest.fixture
def fleet(bed: Bed) -> Bed:
    """Two machines with two GPUs each and no cluster, and one of the cluster alpha."""
    machines = [("n1", ""), ("n2.example.org", ""), ("a1", "alpha")]
    bed.write(Batch(devices=tuple(gpu(node, i, of) for node, of in machines for i in range(2))))
    return bed


class TestNobodySaidAnything:
    def test_all_gpus_of_a_node(self, fleet: Bed) -> None:
        counted, _ = imported(fleet, [job()])
        assert pieces(fleet) == [
            ("n1-0", "slurm/n1/7", 0, 3600, 1.0, "sacct"),
            ("n1-1", "slurm/n1/7", 0, 3600, 1.0, "sacct"),
        ]
        assert counted == {"jobs": 1, "workloads": 1, "allocations": 2}
        row = fleet.client.records("SELECT * FROM v_workload")[0]
        assert (row["workload"], row["owner"], row["project"]) == ("train", "ada", "physics")
        assert (row["queue"], row["instance"], row["workload_kind"]) == ("gpu", "7", "job")

    def test_some_gpus_of_a_node_are_an_equal_part_of_each(self, fleet: Bed) -> None:
        counted, _ = imported(fleet, [job(gpus=1)])
        assert pieces(fleet) == [
            ("n1-0", "slurm/n1/7", 0, 3600, 0.5, "sacct_share"),
            ("n1-1", "slurm/n1/7", 0, 3600, 0.5, "sacct_share"),
        ]
        assert counted["shared_out"] == 1

    def test_several_nodes_and_their_domains(self, fleet: Bed) -> None:
        imported(fleet, [job(nodes=("n1", "n2"), gpus=4)])
        assert [(device, key) for device, key, *_ in pieces(fleet)] == [
            ("n1-0", "slurm/n1/7"),
            ("n1-1", "slurm/n1/7"),
            ("n2.example.org-0", "slurm/n2.example.org/7"),
            ("n2.example.org-1", "slurm/n2.example.org/7"),
        ]

    def test_the_key_is_that_of_the_cluster_where_a_node_has_one(self, fleet: Bed) -> None:
        imported(fleet, [job(nodes=("a1",), cluster="alpha")], "alpha")
        assert {key for _, key, *_ in pieces(fleet)} == {"slurm/alpha/7"}

    def test_jobs_and_nodes_of_another_cluster(self, fleet: Bed) -> None:
        jobs = [job(cluster="beta"), job("8", ("a1",), cluster="gamma"), job("9", ("a1",))]
        counted, written = imported(fleet, jobs, "beta")
        assert {key for _, key, *_ in pieces(fleet)} == {"slurm/n1/7"}
        assert (counted["other_cluster"], counted["unknown_node"]) == (1, 1)
        assert len(written) == 1

    @pytest.mark.parametrize(
        ("how", "reason"),
        [
            ({"nodes": ("nowhere",)}, "unknown_node"),
            ({"gpus": None}, "gpus_not_said"),
            ({"end_ms": None}, "running"),
        ],
    )
    def test_what_cannot_be_charged(self, fleet: Bed, how: dict[str, object], reason: str) -> None:
        counted, written = imported(fleet, [job(**how)])  # type: ignore[arg-type]
        assert (counted, written) == ({"jobs": 1, reason: 1}, [])

    def test_a_job_without_gpus(self, fleet: Bed) -> None:
        assert imported(fleet, [job(gpus=0)]) == ({"jobs": 1}, [])


class TestANodeSaidSomething:
    def test_what_it_missed_is_filled_in(self, fleet: Bed) -> None:
        held = (live("n1-0", T0 + 9_000, T0 + 600_000), live("n1-0", T0 + 900_000, END - 30_000))
        fleet.write(
            Batch(workloads=(Workload("slurm/n1/7", "7", model="llama"),), allocations=held)
        )
        imported(fleet, [job(gpus=1)])
        assert pieces(fleet) == [
            ("n1-0", "slurm/n1/7", 0, 9, 1.0, "sacct"),
            ("n1-0", "slurm/n1/7", 9, 600, 1.0, "slurm"),
            ("n1-0", "slurm/n1/7", 600, 900, 1.0, "sacct"),
            ("n1-0", "slurm/n1/7", 900, 3570, 1.0, "slurm"),
            ("n1-0", "slurm/n1/7", 3570, 3600, 1.0, "sacct"),
        ]
        row = fleet.client.records("SELECT * FROM v_workload")[0]
        assert (row["workload"], row["owner"], row["ai_model"]) == ("train", "ada", "llama")

    def test_its_share_is_kept(self, fleet: Bed) -> None:
        fleet.write(Batch(allocations=(live("n1-1", T0, END - 60_000, 0.25),)))
        counted, _ = imported(fleet, [job(gpus=1)])
        assert [(p[0], p[4]) for p in pieces(fleet)] == [("n1-1", 0.25), ("n1-1", 0.25)]
        assert "shared_out" not in counted

    def test_what_it_held_on_to_is_taken_back(self, fleet: Bed) -> None:
        late = (live("n1-0", T0, END + 900_000), live("n1-1", END + 60_000, END + 120_000))
        fleet.write(Batch(allocations=late))
        imported(fleet, [job(gpus=1)])
        assert [p[:4] for p in pieces(fleet)] == [("n1-0", "slurm/n1/7", 0, 3600)]

    def test_less_than_a_second_is_nothing(self, fleet: Bed) -> None:
        held = (live("n1-0", T0 + 999, END + 900), live("n1-1", T0, END))
        workload = Workload("slurm/n1/7", "train", "job", "7", "", "", "ada", "physics", "", "gpu")
        fleet.write(Batch(workloads=(workload,), allocations=held))
        assert imported(fleet, [job()]) == ({"jobs": 1}, [])

    def test_a_job_that_runs_still_gets_its_names(self, fleet: Bed) -> None:
        fleet.write(
            Batch(
                workloads=(Workload("slurm/n1/7", "7"),),
                allocations=(live("n1-0", T0, END + 5_000_000),),
            )
        )
        counted, written = imported(fleet, [job(end_ms=None)])
        assert counted == {"jobs": 1, "running": 1, "workloads": 1}
        assert (written[0].workloads[0].name, written[0].allocations) == ("train", ())

    def test_two_runs_of_one_job_that_was_requeued(self, fleet: Bed) -> None:
        second = END + HOUR_MS
        fleet.write(
            Batch(
                allocations=(
                    live("n1-0", T0, END + 30_000),
                    live("n1-0", second, second + HOUR_MS),
                    live("n1-0", second + 2 * HOUR_MS, second + 3 * HOUR_MS),
                )
            )
        )
        imported(fleet, [job(gpus=1), job(gpus=1, start_ms=second, end_ms=second + HOUR_MS)])
        assert [p[2:4] for p in pieces(fleet)] == [(0, 3600), (7200, 10800)]

    def test_only_the_last_run_is_known_and_the_first_stays(self, fleet: Bed) -> None:
        fleet.write(
            Batch(allocations=(live("n1-0", T0 - HOUR_MS, T0 - 60_000), live("n1-0", T0, END)))
        )
        imported(fleet, [job(gpus=1)])
        assert [p[2:4] for p in pieces(fleet)] == [(-3600, -60), (0, 3600)]

    def test_what_a_node_says_later_replaces_a_guess(self, fleet: Bed) -> None:
        imported(fleet, [job(gpus=1)])
        fleet.write(Batch(allocations=(live("n1-1", T0 + 7_000, END - 60_000),)))
        imported(fleet, [job(gpus=1)])
        assert pieces(fleet) == [
            ("n1-1", "slurm/n1/7", 0, 7, 1.0, "sacct"),
            ("n1-1", "slurm/n1/7", 7, 3540, 1.0, "slurm"),
            ("n1-1", "slurm/n1/7", 3540, 3600, 1.0, "sacct"),
        ]


STRETCHES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-900, 4500), st.integers(1, 1800)),
    max_size=6,
)


@given(said=STRETCHES, gpus=st.sampled_from([1, 2, 3]), again=st.booleans())
@example(said=[(0, 0, 1)], gpus=1, again=True)
@example(said=[(0, 1861, 1800)], gpus=1, again=True)  # a second into the next run
@example(said=[(0, 1861, 1800)], gpus=2, again=True)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_twice_changes_nothing_and_the_job_is_covered(
    fleet: Bed, said: list[tuple[int, int, int]], gpus: int, again: bool
) -> None:
    fleet.client.command("TRUNCATE TABLE allocation")
    fleet.client.command("TRUNCATE TABLE workload")
    held = {
        (device, start): live(f"n1-{device}", T0 + start * 1000, T0 + (start + length) * 1000)
        for device, start, length in said
    }
    fleet.write(Batch(allocations=tuple(held.values())))
    runs = [job(gpus=gpus)]
    if again:
        runs.append(job(gpus=gpus, start_ms=END + 60_000, end_ms=END + 120_000))
    imported(fleet, runs)
    after = pieces(fleet)
    for run in runs:
        start, end = (run.start_ms - T0) // 1000, ((run.end_ms or 0) - T0) // 1000
        covered = {
            device: sum(1 for s in range(start, end, 30) if _covers(after, device, s))
            for device in ("n1-0", "n1-1")
        }
        full = math.ceil((end - start) / 30)
        # All of the GPUs, or those that the node named, or (nobody knows) a part of each.
        assert full in covered.values()
        assert gpus < 2 or set(covered.values()) == {full}
    counted, written = imported(fleet, runs)
    assert (written, pieces(fleet)) == ([], after)
    assert "allocations" not in counted


def _covers(found: list[Piece], device: str, second: int) -> bool:
    return any(p[0] == device and p[2] <= second < p[3] for p in found)


def test_the_past_is_charged_again(fleet: Bed) -> None:
    """Of three hours at 100 W that were nobody's two are a job's after its import."""
    ticks = tuple(
        Tick("n1-0", T0 + i * 60_000, 60_000, Method.COUNTER, 100.0, i * 6_000_000_000, T0, 0.9)
        for i in range(181)
    )
    fleet.write(Batch(ticks=ticks))
    fleet.ledger().run()
    imported(fleet, [job(gpus=2, start_ms=T0 + 1_800_000, end_ms=T0 + 9_000_000)])
    fleet.ledger().run()
    charged = fleet.client.rows(
        "SELECT w.key, sum(c.joules) FROM charge_1m AS c FINAL LEFT JOIN (SELECT * FROM workload"
        " FINAL) AS w ON w.workload_id = c.workload_id GROUP BY 1 ORDER BY 1"
    )
    assert charged == [("", pytest.approx(360_000)), ("slurm/n1/7", pytest.approx(720_000))]
