"""A page whose lines are known says the same as one that is read sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.facts import facts

from wattshed_collector.config import Action, Job, Relabel
from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise.dialect import Origin
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.receivers.others import Others
from wattshed_collector.receivers.scrape.known_pages import KnownPages
from wattshed_collector.receivers.scrape.other_samples import OtherSamples
from wattshed_collector.receivers.scrape.pages import PageReader, Pages
from wattshed_collector.receivers.scrape.relabel import Rules
from wattshed_collector.receivers.scrape.state import TargetState
from wattshed_collector.store.stacks import spread
from wattshed_exporter.model import Detail, Device, Kind, Method, Tick
from wattshed_exporter.outputs import Snapshot
from wattshed_exporter.outputs.exposition import Exposition

NOW_MS = 1_763_856_000_000
DEVICES = tuple(
    Device(f"n1/gpu{n}", Kind.GPU, "n1", source, model="H 100 {}", power_limit_watts=700.0)
    for n, source in enumerate(("nvml", "nvml", "rapl"))
)
OWN = (
    'wattshed_energy_joules_total{device="n1/gpu0",kind="gpu"} %s',
    'wattshed_energy_joules_total{device="n1/gpu1",kind="gpu"} %s',
    'wattshed_power_watts{device="n1/gpu0",kind="gpu"} %s',
    'wattshed_power_watts{device="n1/gpu0",kind="gpu",node="other"} %s',
    'wattshed_temperature_celsius{device="n1/gpu1",kind="spaceship"} %s',
    'wattshed_utilization_ratio{device="n1/gpu1",kind="gpu"} %s',
    'wattshed_memory_used_bytes{device="n1/gpu1"} %s',
    'wattshed_reading_timestamp_seconds{device="n1/gpu0"} %s',
    'wattshed_energy_start_timestamp_seconds{device="n1/gpu0"} %s',
    'wattshed_activity_start_timestamp_seconds{device="n1/gpu0"} %s',
    'wattshed_activity_seconds_total{device="n1/gpu0",class="idle"} %s',
    'wattshed_device_info{device="n1/gpu0",vendor="NVIDIA",serial="1"} %s',
    'wattshed_power_limit_watts{device="n1/gpu0",kind="gpu"} %s',
    'wattshed_clock_hertz{device="n1/gpu0",domain="sm"} %s',
    'wattshed_build_info{version="1"} %s',
    "go_goroutines %s",
    "somebody_else_total %s",
    "up %s",
)
OTHER = (
    'DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-1",Hostname="n1"} %s',
    'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-1",Hostname="n1"} %s',
    'node_rapl_package_joules_total{index="0",path="p"} %s',
)
COUNTED = (
    'vllm:prompt_tokens_total{engine="0",model_name="m"} %s',
    'vllm:prompt_tokens_cached_total{engine="0",model_name="m"} %s',
    'vllm:generation_tokens_total{engine="0",model_name="m"} %s',
    'vllm:request_success_total{engine="0",finished_reason="stop"} %s',
    "vllm:kv_cache_usage_perc %s",
    "process_start_time_seconds %s",
)
TEXTS = ("# HELP a b", "#", "", "# TYPE wattshed_power_watts gauge")
ODD_LINES = ("nonsense", "x y z", "x 5 1234", "x{} 5", " x 5", "x  5", 'x{a="b"}5', "x 5 ")
GOOD = ("0.5", "1", "0", "0.97", "1e-3", ".5", "1.")
ODD = ("NaN", "-1", "+Inf", "1e30", "1_0", "infinity", "0x5", "", "5\r", "-0")
SECONDS = ("1763855990.5", "1763855990", "1763855991.0004", "1.76385599e+09")
ours = st.one_of(*[st.sampled_from(OWN)] * 8, st.sampled_from(TEXTS))
mixed = st.one_of(*[st.sampled_from(OWN + OTHER + COUNTED)] * 8, st.sampled_from(TEXTS + ODD_LINES))


def values(line: str) -> st.SearchStrategy[str]:
    good = SECONDS if "timestamp" in line else GOOD
    return st.one_of(*[st.sampled_from(good)] * 20, st.sampled_from(SECONDS + ODD))


def target(**job: Any) -> TargetState:
    return TargetState(Origin("n1:9400", "n1"), Job(name="j", **job), Rules(()))


def readers(*keep: str) -> tuple[tuple[PageReader, Foreign], tuple[PageReader, Foreign]]:
    """Return the one that knows pages, and the one that does not; both ``keep`` other metrics."""
    made = []
    for _ in range(2):
        normaliser, foreign = Normaliser(Limits(), lambda: NOW_MS / 1000), Foreign()
        others = OtherSamples(Others(keep, 10, Limits(), lambda: NOW_MS / 1000))
        made.append((Pages(normaliser, foreign, others), normaliser, foreign, others))
    (slow, one, fast_foreign, kept), (plain, _, foreign, _) = made
    return (KnownPages(slow, one, fast_foreign, kept), fast_foreign), (plain, foreign)


def said(reader: PageReader, page: bytes, ts_ms: int, state: TargetState) -> Mapping[str, Any]:
    try:
        read = reader.read(page, ts_ms, state)
    except InvalidInput as error:
        return {"refused": error.reason}
    return {**facts(read.batch, read.frames), "ignored": read.ignored}


def own(number: int, skip: int = -1) -> bytes:
    """Return a page of our own exporter; the device ``skip`` says nothing."""
    ticks = {
        device.key: Tick(
            *(device.key, NOW_MS - 10_000 + number * 1000, 1000, Method.COUNTER, 400.5 + number),
            *(10**12 + number, NOW_MS - 10**9, 0.97, 10**10 + number, 61.0),
        )
        for at, device in enumerate(DEVICES)
        if at != skip
    }
    metric, own_labels = "wattshed_clock_hertz", tuple[str, ...](("sm",))
    details = {
        (device.key, metric, own_labels): Detail(
            device.key, metric, NOW_MS - 1000, 1.98e9 + number, own_labels
        )
        for device in DEVICES
    }
    return Exposition().render(Snapshot(DEVICES, ticks, {}, details))


class TestEqual:
    @settings(max_examples=50, deadline=None)
    @given(st.data())
    def test_pages_of_one_layout(self, data: st.DataObject) -> None:
        lines = data.draw(st.sampled_from((ours, ours, mixed)))
        layout = data.draw(st.lists(lines, min_size=5, max_size=14, unique=True))
        keep = data.draw(st.sampled_from(((), ("somebody*", "up"), ("*",))))
        (fast, foreign), (slow, other) = readers(*keep)
        states = target(), target()
        end = data.draw(st.sampled_from(("\n", "")))
        for number in range(5):
            if number == 4:
                layout = layout[data.draw(st.integers(0, 1)) :]
            text = [line % data.draw(values(line)) if "%s" in line else line for line in layout]
            page = ("\n".join(text) + end).encode()
            ts_ms = NOW_MS - 5000 + number * 1000
            assert said(fast, page, ts_ms, states[0]) == said(slow, page, ts_ms, states[1])
            assert known(foreign) == known(other)

    def test_what_is_unknown_is_counted_once_a_page(self) -> None:
        (fast, _), _ = readers()
        state = target()
        for number in range(6):
            read = fast.read(own(0) + b"somebody_else_total 1\n", NOW_MS + number, state)
            assert read.batch.rejected == {"unknown_metric": 1}, number

    def test_pages_of_our_own_exporter_become_rows(self) -> None:
        (fast, _), (slow, _) = readers()
        states = target(), target()
        for number in range(4):
            page = own(number)
            assert said(fast, page, NOW_MS, states[0]) == said(slow, page, NOW_MS, states[1])
        read = fast.read(own(4), NOW_MS, states[0])
        assert [(part.table, len(part)) for part in spread(read.frames)] == [
            ("tick", 3),
            ("detail", 3),
        ]
        assert (read.batch.ticks, read.batch.details) == ((), ())

    def test_a_device_that_goes_and_comes(self) -> None:
        (fast, _), (slow, _) = readers()
        states = target(), target()
        for number, skip in enumerate((-1, -1, -1, 1, 1, 1, -1, -1, -1)):
            page = own(number, skip)
            assert said(fast, page, NOW_MS, states[0]) == said(slow, page, NOW_MS, states[1])

    def test_a_limit_that_changes(self) -> None:
        (fast, _), (slow, _) = readers()
        states = target(), target()
        for watts in (b"700", b"700", b"700", b"650", b"650", b"NaN", b"700"):
            page = own(1).replace(b"} 700.0", b"} " + watts)
            assert said(fast, page, NOW_MS, states[0]) == said(slow, page, NOW_MS, states[1])


def known(foreign: Foreign) -> tuple[object, object]:
    """Return what was learned of who measures what, and of which targets are scraped."""
    return foreign._precedence._until, foreign._scraped


@pytest.fixture
def fast() -> PageReader:
    return readers()[0][0]


class TestLimits:
    def test_rules_look_at_every_page(self, fast: PageReader) -> None:
        rule = Relabel(
            source_labels=("__name__",), regex="wattshed_power_watts", action=Action.DROP
        )
        state = replace(target(), rules=Rules((rule,)))
        for number in range(4):
            read = fast.read(own(number), NOW_MS, state)
            assert (len(read.batch.ticks), read.frames) == (3, ())
            assert {tick.power_watts for tick in read.batch.ticks} == {None}

    def test_a_page_that_grows_beyond_the_limit_is_refused(self, fast: PageReader) -> None:
        state = target(sample_limit=len(own(0).splitlines()) - own(0).count(b"#"))
        for number in range(4):
            assert fast.read(own(number), NOW_MS, state).batch.devices
        with pytest.raises(InvalidInput, match="limit"):
            fast.read(own(5) + b"one_more 1\n", NOW_MS, state)

    @pytest.mark.parametrize("page", [b"x y z\n" * 500, b"x 1\n" * 500])
    def test_a_page_that_is_refused_leaves_no_count_behind(
        self, fast: PageReader, page: bytes
    ) -> None:
        state = target(sample_limit=400)
        for number in range(4):
            fast.read(own(number), NOW_MS, state)
        count = state.samples
        with pytest.raises(InvalidInput):
            fast.read(page, NOW_MS, state)
        fast.read(own(5), NOW_MS, state)
        assert state.samples == count
