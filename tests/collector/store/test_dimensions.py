"""Descriptions that come again and again are compared once, and never missed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_collector.store.dimensions import Dimensions
from wattshed_collector.store.rows import Ids
from wattshed_exporter.model import Batch, Detail, Device, Kind, Workload

SAID = tuple(
    Batch(devices=tuple(Device(key, Kind.GPU, "n", "s", site=site) for key in keys))
    for keys, site in (("ab", "here"), ("a", "there"), ("b", "here"), ("bc", "there"))
)
"""Each is the same object whenever it is said."""
OTHER = Batch(devices=SAID[0].devices, details=(Detail("z", "m", 1, 1.0),))


GROUPS = st.lists(st.sampled_from((*SAID, OTHER)), min_size=1, max_size=3)


@settings(max_examples=60)
@given(st.lists(st.tuples(GROUPS, st.booleans()), max_size=5))
def test_the_store_holds_what_was_said_last(groups: list[tuple[list[Batch], bool]]) -> None:
    """A group that could not be written is forgotten."""
    dimensions, held = Dimensions(Ids()), dict[str, Device]()
    expected: dict[str, Device] = {}
    for group, written in groups:
        news = dimensions.news(group, lambda keys: {})
        if not written:
            continue
        dimensions.remember(news)
        held.update((device.key, device) for device in news.batch.devices)
        expected.update((d.key, d) for batch in group for d in batch.devices)
        assert held == expected
        assert len(news.batch.details) == group.count(OTHER)


WHOLE = Workload("w", "chat", "inference", team="nlp", owner="ada", model="m")
PARTS = (
    Workload("w", "w"),
    Workload("w", "w", team="nlp"),
    Workload("w", "chat", kind="inference"),
    Workload("w", "w", owner="ada", model="m"),
)


@given(st.permutations((*PARTS, *PARTS)), st.integers(1, 8))
def test_several_describe_a_workload(parts: list[Workload], portion: int) -> None:
    """What a program says of itself does not take away what its node knows, nor the reverse."""
    dimensions, held = Dimensions(Ids()), dict[str, Workload]()
    unnamed: set[str] = set()
    for at in range(0, len(parts), portion):
        batch = [Batch(workloads=(part,)) for part in parts[at : at + portion]]
        news = dimensions.news(batch, lambda keys: {})
        dimensions.remember(news)
        held.update((workload.key, workload) for workload in news.batch.workloads)
        unnamed |= news.unnamed
    assert held == {"w": WHOLE}
    assert unnamed <= {"w"}


def test_a_workload_that_changes_is_news() -> None:
    dimensions = Dimensions(Ids())
    moved = Workload("w", "chat", "inference", team="vision", owner="ada", model="m")
    told = []
    for workload in (WHOLE, moved, moved):
        news = dimensions.news([Batch(workloads=(workload,))], lambda keys: {})
        dimensions.remember(news)
        told.append(news.batch.workloads)
    assert told == [(WHOLE,), (moved,), ()]


def test_only_the_key_is_no_description() -> None:
    news = Dimensions(Ids()).news([Batch(workloads=(Workload("w", "w"),))], lambda keys: {})
    assert not news.batch.workloads
    assert news.unnamed == {"w"}
