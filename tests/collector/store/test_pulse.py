"""The newest tick of each device, in whatever order and groups ticks come."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_collector.store.frames import frame
from wattshed_collector.store.pulse import RECENT_MS, Pulse
from wattshed_collector.store.rows import Ids, tick_columns
from wattshed_exporter.model import Method, Tick

NOW_MS = 1_768_471_200_000
ticks = st.builds(
    lambda device, late_ms, watts: Tick(device, NOW_MS - late_ms, 1000, Method.COUNTER, watts),
    st.sampled_from("abcdef"),
    st.sampled_from((0, 1, 2, RECENT_MS, RECENT_MS + 1)),
    st.sampled_from((None, 1.0, 20.0, 300.0)),
)


@settings(max_examples=30)
@given(st.lists(st.lists(ticks, min_size=1, max_size=8), max_size=5))
def test_the_newest_of_each_device_counts(groups: Sequence[Sequence[Tick]]) -> None:
    ids, newest = Ids(), dict[str, Tick]()
    pulse = Pulse(ids, lambda: NOW_MS / 1000)
    for group in groups:
        pulse.observe(frame("tick", tick_columns(group, ids)))
        for tick in group:
            if tick.device not in newest or newest[tick.device].ts_ms <= tick.ts_ms:
                newest[tick.device] = tick
    recent = [tick for tick in newest.values() if tick.ts_ms >= NOW_MS - RECENT_MS]
    watts = [tick.power_watts for tick in recent if tick.power_watts is not None]
    assert pulse.devices() == len(recent)
    assert pulse.power_watts() == (sum(watts) if watts else None)
    assert pulse.newest_ms() == max((tick.ts_ms for tick in newest.values()), default=None)
