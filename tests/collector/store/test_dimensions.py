"""Descriptions that come again and again are compared once, and never missed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_collector.store.dimensions import Dimensions
from wattshed_collector.store.rows import Ids
from wattshed_exporter.model import Batch, Detail, Device, Kind

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
