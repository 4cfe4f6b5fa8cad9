"""What plug-ins say together: names that mean the same, shares, activity, and what is left."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.allocations import Claim, Meters, Told
from wattshed_exporter.allocations.combine import Held, combine, stand_ins
from wattshed_exporter.model import Device, Instance, Kind, ProcessUse, Workload
from wattshed_exporter.sources.sysfs import MOST_TEXT

GPU = Device("GPU-1", Kind.GPU, "n1", "nvml")
OTHER = Device("GPU-2", Kind.GPU, "n1", "nvml")
METERS = Meters(1000, {d.key: d for d in (GPU, OTHER)})
BIG = Instance("GPU-1", "2/0", "MIG-b", 1000, 3, 0.5)
SMALL = Instance("GPU-1", "9/0", "MIG-a", 1000, 1, 1.0)


def held(*said: Told, meters: Meters = METERS) -> dict[tuple[str, str], Held]:
    named = [(f"p{n}", told) for n, told in enumerate(said)]
    found = combine(named, meters, "n1", "c1").held
    assert len({(h.device, h.workload) for h in found}) == len(found)
    return {(h.device, h.workload): h for h in found}


def shares(*said: Told, meters: Meters = METERS) -> dict[str, float]:
    return {workload: h.share for (_, workload), h in held(*said, meters=meters).items()}


def claims(*told: Claim, same: Mapping[str, str] | None = None) -> Told:
    return Told(told, same=same or {})


class TestNames:
    def test_chains_lead_to_the_last_name(self) -> None:
        tables: list[dict[str, str]] = [{"a": "b", "x": "x"}, {"b": "c", "a": "never"}]
        assert stand_ins(tables) == {"a": "c", "b": "c"}

    def test_a_circle_is_one_holder(self) -> None:
        assert stand_ins([{"c": "b", "b": "a", "a": "c", "d": "c"}]) == dict.fromkeys("abcd", "a")

    @given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("abcdef")))
    def test_what_stands_for_a_name_stands_for_itself(self, table: dict[str, str]) -> None:
        names = stand_ins([table])
        for last in names.values():
            assert names.get(last, last) == last

    def test_a_pod_by_name_and_its_container_are_one_workload(self) -> None:
        kubelet = claims(Claim("GPU-1", "pod:team/train-0", 1.0, method="podresources"))
        api = Told(
            about={"pod:u-1": {"name": "train", "instance": "train-0", "team": "a", "owner": ""}},
            same={"pod:team/train-0": "pod:u-1"},
        )
        cgroup = Told(
            [Claim("GPU-1", "container:c9", activity=0.25, method="cgroup")],
            {"container:c9": {"team": "late", "precision": "fp8"}},
            {"container:c9": "pod:u-1"},
        )
        said = [("podresources", kubelet), ("pods", api), ("cgroup", cgroup)]
        found = combine(said, METERS, "n1", "c1")
        assert found.workloads == (
            Workload("k8s/c1/u-1", "train", "pod", "train-0", team="a", precision="fp8",
                     cluster="c1"),
        )  # fmt: skip
        assert found.held == (Held("GPU-1", "k8s/c1/u-1", 1.0, 0.25, "podresources+cgroup"),)

    @pytest.mark.parametrize(
        ("holder", "workload"),
        [
            ("pod:ns/a", Workload("k8s/c1/ns/a", "a", "pod", "ns/a", "ns", cluster="c1")),
            ("slurm:12", Workload("slurm/c1/12", "12", "job", "12", cluster="c1")),
            ("torque:1.b", Workload("torque/c1/1.b", "1.b", "job", "1.b", cluster="c1")),
            ("container:f0", Workload("container/n1/f0", "f0", "container", "f0", cluster="c1")),
            ("unit:x.service",
             Workload("unit/n1/x.service", "x.service", "unit", "x.service", cluster="c1")),
            ("static:a/b", Workload("static/a/b", "a/b", "", "a/b", cluster="c1")),
        ],
    )  # fmt: skip
    def test_keys_are_unique_in_the_fleet(self, holder: str, workload: Workload) -> None:
        found = combine([("p", claims(Claim("GPU-1", holder)))], METERS, "n1", "c1")
        assert found.workloads == (workload,)

    def test_without_a_cluster_a_job_is_known_by_its_node_and_a_pod_by_itself(self) -> None:
        told = claims(Claim("GPU-1", "slurm:12"), Claim("GPU-2", "pod:u-1"))
        found = combine([("p", told)], METERS, "n1", "")
        assert [w.key for w in found.workloads] == ["slurm/n1/12", "k8s/u-1"]

    def test_a_plug_in_may_name_the_cluster(self) -> None:
        told = Told([Claim("GPU-1", "slurm:12")], {"slurm:12": {"cluster": "alps"}})
        (workload,) = combine([("p", told)], METERS, "n1", "c1").workloads
        assert (workload.key, workload.cluster) == ("slurm/alps/12", "alps")

    def test_what_becomes_a_label_can_be_printed_and_is_bounded(self) -> None:
        said = {"name": "a\nb\x1b[2J\ud800", "owner": "x" * 10_000}
        told = Told([Claim("GPU-1", "slurm:12")], {"slurm:12": said})
        (found,) = combine([("p", told)], METERS, "n1", "c1").workloads
        assert (found.name, found.owner) == ("ab[2J", "x" * MOST_TEXT)

    def test_who_holds_nothing_is_no_workload(self) -> None:
        told = Told(about={"pod:u-1": {"name": "train"}})
        assert combine([("p", told)], METERS, "n1", "c1").workloads == ()


class TestShares:
    def test_the_first_that_tells_a_share_counts(self) -> None:
        first, second = Claim("GPU-1", "static:a", 0.25), Claim("GPU-1", "static:a", 0.5, 0.1)
        (found,) = held(claims(first), claims(second)).values()
        assert found == Held("GPU-1", "static/a", 0.25, 0.1, "p0+p1")

    def test_the_rest_is_divided_among_those_without_a_share(self) -> None:
        told = claims(*(Claim("GPU-1", f"static:{x}", s) for x, s in
                        (("a", 0.5), ("b", None), ("c", None))))  # fmt: skip
        assert shares(told) == {"static/a": 0.5, "static/b": 0.25, "static/c": 0.25}

    def test_who_all_hold_the_whole_device_share_it(self) -> None:
        whole = [Claim("GPU-1", f"static:{x}", 1.0) for x in "abcd"]
        told = claims(*whole, Claim("GPU-1", "static:e"))
        found = shares(told)
        assert found == {**{f"static/{x}": 0.25 for x in "abcd"}, "static/e": 0.0}

    def test_shares_above_one_together_are_put_in_proportion(self) -> None:
        told = claims(Claim("GPU-1", "static:a", 0.9), Claim("GPU-1", "static:b", 0.6))
        assert shares(told) == pytest.approx({"static/a": 0.6, "static/b": 0.4})

    @given(st.dictionaries(st.sampled_from("abcdef"), st.none() | st.floats(0, 1), max_size=6))
    def test_never_more_than_all_of_it(self, told: dict[str, float | None]) -> None:
        found = shares(claims(*(Claim("GPU-1", f"static:{x}", s) for x, s in told.items())))
        assert math.fsum(found.values()) <= 1 + 1e-12
        assert all(share >= 0 for share in found.values())

    def test_what_one_plug_in_saw_under_several_names_of_a_holder_adds_up(self) -> None:
        names = {"container:c1": "pod:u-1", "container:c2": "pod:u-1"}
        first = claims(
            Claim("GPU-1", "container:c1", 0.0, 0.25, "x"), Claim("GPU-1", "container:c2", 0.0, 0.5)
        )
        second = claims(Claim("GPU-1", "pod:u-1", 0.0, 0.1), same=names)
        (found,) = held(first, second).values()
        assert found == Held("GPU-1", "k8s/c1/u-1", 0.0, 0.75, "x")

    def test_where_one_of_the_names_is_not_told_of_nothing_is_known(self) -> None:
        told = claims(
            Claim("GPU-1", "container:c1", activity=0.25), Claim("GPU-1", "container:c2"),
            same={"container:c1": "pod:u-1", "container:c2": "pod:u-1"},
        )  # fmt: skip
        assert held(told)["GPU-1", "k8s/c1/u-1"].activity is None

    @pytest.mark.parametrize(
        "claim",
        [
            Claim("GPU-1", "static:a", math.nan),
            Claim("GPU-1", "static:a", 1.5),
            Claim("GPU-1", "static:a", -0.1),
            Claim("GPU-1", "static:a", 1.0, -0.1),
            Claim("GPU-1", "static:a", 1.0, math.inf),
        ],
    )
    def test_what_makes_no_sense_is_counted_and_left_out(self, claim: Claim) -> None:
        found = combine([("p", claims(claim, Claim("GPU-9", "static:b")))], METERS, "n1", "")
        assert found.held == ()
        assert found.rejected == {("p", "bad_claim"): 1, ("p", "unknown_device"): 1}


class TestInstances:
    meters = Meters(1000, {"GPU-1": GPU}, (BIG, SMALL))

    def test_activity_is_weighted_by_slices(self) -> None:
        told = claims(Claim("MIG-b", "pod:b", 1.0), Claim("MIG-a", "pod:a", 1.0))
        found = held(told, meters=self.meters)
        assert found["GPU-1", "k8s/c1/b"] == Held("GPU-1", "k8s/c1/b", 3 / 7, 0.5 * 3 / 7, "p0")
        assert found["GPU-1", "k8s/c1/a"] == Held("GPU-1", "k8s/c1/a", 1 / 7, 1 / 7, "p0")

    def test_unknown_activity_is_not_known_and_an_unknown_size_is_one_slice(self) -> None:
        meters = Meters(1000, {"GPU-1": GPU}, (Instance("GPU-1", "9/0", "MIG-a", 1000),))
        (found,) = held(claims(Claim("MIG-a", "pod:a")), meters=meters).values()
        assert found == Held("GPU-1", "k8s/c1/a", 1 / 7, None, "p0")

    def test_pods_that_share_an_instance_share_its_activity(self) -> None:
        told = claims(Claim("MIG-b", "pod:a", 1.0), Claim("MIG-b", "pod:b", 1.0))
        found = held(told, meters=self.meters)
        assert [h.share for h in found.values()] == [1.5 / 7, 1.5 / 7]
        assert [h.activity for h in found.values()] == [0.75 / 7, 0.75 / 7]

    def test_who_has_two_instances_has_their_sum(self) -> None:
        told = claims(Claim("MIG-b", "pod:a", 1.0), Claim("MIG-a", "pod:a", 1.0))
        (found,) = held(told, meters=self.meters).values()
        assert (found.share, found.activity) == pytest.approx((4 / 7, 2.5 / 7))

    def test_a_process_on_the_board_adds_no_share_to_who_has_an_instance(self) -> None:
        kubelet = claims(Claim("MIG-a", "pod:a", 1.0))
        cgroup = claims(Claim("GPU-1", "pod:a"), Claim("GPU-1", "unit:x"))
        found = shares(kubelet, cgroup, meters=self.meters)
        assert found == pytest.approx({"k8s/c1/a": 1 / 7, "unit/n1/x": 6 / 7})

    def test_a_process_in_an_instance_says_what_a_holder_of_the_board_used(self) -> None:
        slurm = claims(Claim("GPU-1", "slurm:1", 3 / 7), Claim("GPU-1", "slurm:2", 4 / 7))
        cgroup = claims(Claim("MIG-b", "slurm:1"), Claim("MIG-a", "slurm:1"))
        found = held(slurm, cgroup, meters=self.meters)
        assert found["GPU-1", "slurm/c1/1"].share == 3 / 7
        assert found["GPU-1", "slurm/c1/1"].activity == pytest.approx(2.5 / 7)
        assert found["GPU-1", "slurm/c1/2"] == Held("GPU-1", "slurm/c1/2", 4 / 7, None, "p0")

    @pytest.mark.parametrize(
        ("model", "part"),
        [("NVIDIA A30", 1 / 4), ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 1 / 4),
         ("NVIDIA RTX PRO 4500 Blackwell", 1 / 2), ("NVIDIA H100 80GB HBM3", 1 / 7)],
    )  # fmt: skip
    def test_a_board_that_is_cut_into_fewer_slices_counts_by_its_own(
        self, model: str, part: float
    ) -> None:
        board = replace(GPU, model=model)
        meters = Meters(1000, {board.key: board}, (SMALL,))
        found = held(claims(Claim("MIG-a", "pod:n/a", 1.0)), meters=meters)
        (one,) = found.values()
        assert (one.share, one.activity) == pytest.approx((part, part))


class TestEnded:
    def test_who_has_ended_has_nothing_of_what_is_still_granted_to_it(self) -> None:
        kubelet = claims(Claim("GPU-1", "pod:n/a", 1.0), Claim("GPU-2", "pod:n/b", 1.0))
        api = Told(same={"pod:n/a": "pod:u-1", "pod:n/b": "pod:u-2"}, ended={"pod:u-1"})
        assert shares(api, kubelet) == {"k8s/c1/u-2": 1.0}

    def test_what_it_did_before_counts(self) -> None:
        used = claims(Claim("GPU-1", "pod:u-1", activity=0.5))
        (found,) = held(Told(ended={"pod:u-1"}), used).values()
        assert (found.workload, found.activity) == ("k8s/c1/u-1", 0.5)


class TestWhoDoesNotWork:
    def meters(self, *ratios: float | None) -> Meters:
        uses = tuple(ProcessUse("GPU-1", pid, 1000, ratio) for pid, ratio in enumerate(ratios))
        return Meters(1000, {"GPU-1": GPU, "GPU-2": OTHER}, (), uses, frozenset({"GPU-1"}))

    both = claims(Claim("GPU-1", "pod:a", 1.0), Claim("GPU-1", "pod:b", 1.0))

    def activities(self, *said: Told, meters: Meters) -> dict[str, float | None]:
        return {w: h.activity for (_, w), h in held(*said, meters=meters).items()}

    def test_where_all_use_is_anothers_it_is_zero(self) -> None:
        cgroup = claims(Claim("GPU-1", "pod:a", activity=0.4))
        found = self.activities(self.both, cgroup, meters=self.meters(0.1, 0.3))
        assert found == {"k8s/c1/a": 0.4, "k8s/c1/b": 0.0}

    def test_where_nobody_works_it_is_zero(self) -> None:
        found = self.activities(self.both, meters=self.meters())
        assert found == {"k8s/c1/a": 0.0, "k8s/c1/b": 0.0}

    def test_where_some_use_is_nobodys_it_is_not_known(self) -> None:
        cgroup = claims(Claim("GPU-1", "pod:a", activity=0.1))
        found = self.activities(self.both, cgroup, meters=self.meters(0.1, 0.3))
        assert found == {"k8s/c1/a": 0.1, "k8s/c1/b": None}

    def test_where_the_driver_does_not_tell_it_is_not_known(self) -> None:
        found = self.activities(self.both, meters=self.meters(0.0, None))
        assert found == {"k8s/c1/a": None, "k8s/c1/b": None}

    def test_on_a_device_that_was_not_asked_it_is_not_known(self) -> None:
        told = claims(Claim("GPU-2", "pod:a", 1.0))
        assert self.activities(told, meters=self.meters(0.1)) == {"k8s/c1/a": None}
