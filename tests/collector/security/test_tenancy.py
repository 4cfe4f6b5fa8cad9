"""A sender writes only of what is its own, and takes nothing over."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.security.rules import Identity, Role
from wattshed_collector.security.tenancy import NOT_YOURS, Tenancy
from wattshed_collector.store.insert import Column, Frame
from wattshed_collector.store.stacks import spread
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Detail,
    Device,
    Doubtful,
    Kind,
    Method,
    Outcome,
    Tick,
    Workload,
    stable_id,
)

INGEST = frozenset({Role.INGEST})
ALPHA = Identity("alpha", INGEST, clusters=("alpha",))
NODES = Identity("nodes", INGEST, nodes=("gpu-*",))
ANYBODY = Identity("", INGEST)


def of(key: str, cluster: str, node: str = "gpu-1", workload: str = "") -> Batch:
    """One fact of each kind about one device and one workload."""
    job = Workload(workload or f"job-{key}", "job", cluster=cluster)
    held = Allocation(key, job.key, 1000, 2000)
    return Batch(
        devices=(Device(key, Kind.GPU, node, "s", cluster=cluster),),
        ticks=(Tick(key, 1000, 1000, Method.COUNTER, 1.0),),
        details=(Detail(key, "m", 1000, 1.0),),
        workloads=(job,),
        allocations=(held,),
        outcomes=(Outcome(job.key, "token", 1000, 1.0),),
        quarantine=(Doubtful(held, "no_device"),),
    )


def test_an_unbounded_sender_writes_everything() -> None:
    batch = of("d", "beta")
    assert Tenancy().check(ANYBODY, batch).batch is batch


def test_another_clusters_facts_are_taken_out_and_counted() -> None:
    left = Tenancy().check(ALPHA, of("d", "beta")).batch
    assert left == Batch(rejected={NOT_YOURS: 5})
    assert Tenancy().check(ALPHA, of("d", "alpha")).batch == of("d", "alpha")


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12))
def test_who_says_the_same_again_is_heard_as_if_it_were_new(said: list[tuple[int, bool]]) -> None:
    told = [
        Batch(devices=(Device(key, Kind.GPU, node, "s", cluster=cluster),))
        for key, node, cluster in (
            ("d", "n1", "a"), ("d", "n2", "a"), ("d", "n1", "b"), ("e", "n1", "a"),
        )
    ]  # fmt: skip
    same, fresh = dict[str, tuple[str, str]](), dict[str, tuple[str, str]]()
    remembers = Tenancy(same)
    for at, moves in said:
        remembers.learn(told[at], moves=moves)
        Tenancy(fresh).learn(told[at], moves=moves)
        assert same == fresh


def test_who_wants_to_know_hears_only_what_a_sender_may_say() -> None:
    heard: list[Batch] = []
    tenancy = Tenancy(heard=heard.append)
    tenancy.check(ALPHA, of("d", "beta"))
    tenancy.check(ALPHA, of("d", "alpha"))
    tenancy.check(ANYBODY, of("e", "beta"))
    keys = [[workload.key for workload in batch.workloads] for batch in heard]
    assert keys == [[], ["job-d"], ["job-e"]]


def test_what_names_no_cluster_is_put_into_the_senders() -> None:
    left = Tenancy().check(ALPHA, of("d", "")).batch
    assert left.devices[0].cluster == "alpha"
    assert left.workloads[0].cluster == "alpha"
    assert len(left.ticks) == 1


def test_nodes_are_globs() -> None:
    assert Tenancy().check(NODES, of("d", "x", "gpu-7")).batch.rejected == {}
    left = Tenancy().check(NODES, of("d", "x", "cpu-7")).batch
    assert left.rejected == {NOT_YOURS: 4}
    assert len(left.outcomes) == 1, "a workload is on no node"


def test_a_device_is_not_taken_over_by_describing_it_anew() -> None:
    tenancy = Tenancy({"d": ("beta", "gpu-9")}, {"job": "beta"})
    left = tenancy.check(ALPHA, of("d", "alpha", workload="job")).batch
    assert left == Batch(rejected={NOT_YOURS: 5})
    # Whoever may write everything may move it.
    tenancy.check(ANYBODY, of("d", "alpha", workload="job"))
    assert tenancy.check(ALPHA, of("d", "alpha", workload="job")).batch.rejected == {}


def test_details_alone_are_judged_by_what_is_known_of_the_device() -> None:
    alone = Batch(details=(Detail("d", "m", 1000, 1.0),))
    assert Tenancy().check(ALPHA, alone).batch.rejected == {NOT_YOURS: 1}
    assert Tenancy({"d": ("alpha", "n")}).check(ALPHA, alone).batch == alone
    assert Tenancy({"d": ("beta", "n")}).check(ALPHA, alone).batch.rejected == {NOT_YOURS: 1}


def test_rows_of_frames_are_taken_out() -> None:
    both = [of("mine", "alpha"), of("theirs", "beta")]
    batch = Batch(devices=both[0].devices + both[1].devices)
    ids = np.array([stable_id("mine"), stable_id("theirs"), stable_id("mine")], np.uint64)
    present = np.array([True, True, False])
    frame = Frame("tick", {"device_id": Column(ids), "v": Column(np.arange(3), present)})
    mine = Tenancy().check(ALPHA, batch, (frame,))
    (left,) = spread(mine.frames)
    assert left.columns["v"].values.tolist() == [0, 2]
    assert left.columns["v"].present is not None
    assert left.columns["v"].present.tolist() == [True, False]
    assert mine.batch.rejected == {NOT_YOURS: 1}
    assert Tenancy().check(ALPHA, Batch(devices=both[1].devices), (frame,)).frames == ()


def test_who_met_a_device_first_keeps_it_from_whoever_describes_it_then() -> None:
    """What is scraped is told like that: it moves nothing that is known, and is not taken over."""
    tenancy = Tenancy({"e": ("alpha", "n")})
    tenancy.learn(of("d", "beta", workload="job"), moves=False)
    tenancy.learn(of("e", "beta"), moves=False)
    left = tenancy.check(ALPHA, of("d", "alpha", workload="job")).batch
    assert left == Batch(rejected={NOT_YOURS: 5})
    assert len(tenancy.check(ALPHA, of("e", "alpha")).batch.ticks) == 1


def test_samples_that_are_of_no_device_are_left_to_whoever_sends_them() -> None:
    frame = Frame("metric_sample", {"sender": Column(np.array(["alpha"], object))})
    assert Tenancy().check(ALPHA, of("d", "beta"), (frame,)).frames == (frame,)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["alpha", "beta", ""])), max_size=12)
)
def test_in_whatever_order_nothing_of_beta_is_written_by_alpha(said: list[tuple[str, str]]) -> None:
    tenancy = Tenancy({"a": ("beta", "n")}, {"job-a": "beta"})
    for key, cluster in said:
        batch = of(key, cluster)
        left = tenancy.check(ALPHA, batch).batch
        assert all(device.cluster == "alpha" for device in left.devices)
        assert "a" not in {tick.device for tick in left.ticks}
        assert sum(left.rejected.values()) + len(left.ticks) * 5 == 5


def test_outcomes_of_a_workload_that_is_only_named_go_to_whose_it_is_known_to_be() -> None:
    tenancy = Tenancy(clusters={"ours": "alpha", "theirs": "beta"})
    keys = ("ours", "theirs", "unheard-of")
    said = Batch(outcomes=tuple(Outcome(key, "step", 1000, 1.0) for key in keys))
    left = tenancy.check(ALPHA, said).batch
    assert [outcome.workload for outcome in left.outcomes] == ["ours"]
    assert left.rejected == {NOT_YOURS: 2}
    assert tenancy.check(NODES, said).batch == said


def test_what_is_the_same_again_is_the_same_object_again() -> None:
    """Of a sender that is bounded as well: the store knows descriptions again by that."""
    tenancy = Tenancy()
    there, nowhere = (
        Batch(devices=(Device("d", Kind.GPU, "gpu-1", "s", cluster=cluster),))
        for cluster in ("alpha", "")
    )
    assert tenancy.check(ALPHA, there).batch is there
    first = tenancy.check(ALPHA, nowhere).batch
    assert first == there
    assert tenancy.check(ALPHA, nowhere).batch is first
    # Its device has moved meanwhile: what it was is not what is left.
    tenancy.check(ANYBODY, Batch(devices=(Device("d", Kind.GPU, "gpu-1", "s", cluster="beta"),)))
    assert tenancy.check(ALPHA, nowhere).batch == Batch()
