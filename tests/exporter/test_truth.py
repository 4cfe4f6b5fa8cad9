"""The ledger's rule over what a meter publishes: never more energy than the device used.

A device is driven through a random history by a true account of its energy: loads, lost reads,
gaps, repeated reads, counters that wrap or start anew, and clocks that are set either way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wattshed_exporter.guards import ClockWatch
from wattshed_exporter.integrate import Meter
from wattshed_exporter.model import MICRO, Device, Kind, Reading, Tick
from wattshed_exporter.split import spans

RANGE_UJ = 40_000 * MICRO
WATTS = 200.0
BOOT_MS = 1_000_000


@dataclass
class World:
    """What truly happens, and what the exporter sees of it."""

    meter: Meter
    wrapping: bool
    counted: bool
    powered: bool
    wall_ms: int = 50_000_000
    monotonic: float = 0.0
    true_uj: int = 0
    counter_uj: int = 7_000_000
    watch: ClockWatch = field(default_factory=ClockWatch)
    ticks: list[Tick] = field(default_factory=list)
    first_uj: int | None = None

    def spend(self, dt_ms: int) -> None:
        self.wall_ms += dt_ms
        self.monotonic += dt_ms / 1000
        self.true_uj += int(WATTS * dt_ms * 1000)
        self.counter_uj += int(WATTS * dt_ms * 1000)

    def read(self, gap: str = "") -> None:
        before_ms = self.watch.wall_ms
        step_ms = self.watch.step_ms(self.wall_ms, self.monotonic)
        if step_ms and self.meter.follows(before_ms):
            self.keep(self.meter.clock_set(step_ms, self.wall_ms))
            return
        said = self.counter_uj % RANGE_UJ if self.wrapping else self.counter_uj
        self.keep(
            self.meter.feed(
                Reading("d", self.wall_ms, gap=gap)
                if gap
                else Reading(
                    "d",
                    self.wall_ms,
                    WATTS if self.powered else None,
                    said if self.counted else None,
                )
            )
        )
        if self.first_uj is None:
            self.first_uj = self.true_uj

    def keep(self, tick: Tick | None) -> None:
        if tick is not None:
            self.ticks.append(tick)
        self.ticks += self.meter.amended
        self.meter.amended.clear()

    @property
    def known_joules(self) -> float:
        return math.fsum(s.joules for s in spans(self.ticks) if s.joules is not None)

    @property
    def true_joules(self) -> float:
        return (self.true_uj - (self.first_uj or 0)) / MICRO


STEPS_OF_CLOCKS = st.sampled_from([1100, 2000, 2900, 50_000, 3_600_000]) | st.sampled_from(
    [-1100, -5000, -45_000, -61_000, -70_000, -100_000, -400_000, -3_600_000]
)
ORDINARY = st.tuples(st.just("read"), st.sampled_from([1000, 1000, 1000, 999, 700, 2500]))
ODD = st.one_of(
    st.tuples(st.just("read"), st.sampled_from([3001, 8000, 40_000, 130_000])),
    st.tuples(st.sampled_from(["gap", "again", "reset"]), st.just(1000)),
    st.tuples(st.just("clock"), STEPS_OF_CLOCKS),
)
STEP = ORDINARY | ORDINARY | ODD
# Mostly short ones: in a long one the energy that stays unknown would hide a little too much.
HISTORY = st.lists(STEP, max_size=6) | st.lists(STEP, max_size=12) | st.lists(STEP, max_size=60)
KINDS = {
    "raw": (False, True, True, BOOT_MS),
    "raw without a start": (False, True, True, None),
    "raw without power": (False, True, False, BOOT_MS),
    "raw without either": (False, True, False, None),
    "wrapping": (True, True, False, BOOT_MS),
    "wrapping with power": (True, True, True, BOOT_MS),
    "power": (False, False, True, None),
}


def world(kind: str) -> World:
    wrapping, counted, powered, boot_ms = KINDS[kind]
    device = Device(
        "d", Kind.CPU, "n", "test",
        power_limit_watts=250.0, counter_range_uj=RANGE_UJ if wrapping else None,
    )  # fmt: skip
    return World(Meter(device, 1000, boot_ms), wrapping, counted, powered)


def live(seen: World, history: list[tuple[str, int]]) -> None:
    seen.read()
    for what, amount in history:
        if what == "clock":
            # Read at once: two steps that cancel out between two reads cannot be seen.
            seen.wall_ms += amount
        else:
            seen.spend(amount)
        if what == "reset" and not seen.wrapping:  # a fall may always be a wrap
            seen.counter_uj = int(WATTS * amount * 1000)
        seen.read("error" if what == "gap" else "")
        if what == "again":
            seen.read()


@pytest.mark.parametrize("kind", KINDS)
class TestTruth:
    @settings(max_examples=100, deadline=None)
    @given(history=HISTORY)
    @example([("read", 130_000), *[("clock", -45_000)] * 3, ("read", 1000)])
    @example([("read", 40_000), ("read", 8000), ("read", 8000), ("clock", -61_000), ("read", 1000)])
    def test_no_history_yields_more_energy_than_was_used(
        self, kind: str, history: list[tuple[str, int]]
    ) -> None:
        seen = world(kind)
        live(seen, history)
        # A tick is stamped in whole milliseconds; a step of the clock within one read is as small.
        assert seen.known_joules <= seen.true_joules * (1 + 1e-9) + 1e-3

    @settings(deadline=None)
    @given(
        before=st.lists(ORDINARY, max_size=5),
        step_ms=STEPS_OF_CLOCKS,
        after=st.lists(ORDINARY, max_size=5),
    )
    def test_one_step_of_the_clock_alone_yields_none_either(
        self, kind: str, before: list[tuple[str, int]], step_ms: int, after: list[tuple[str, int]]
    ) -> None:
        """Nothing else is lost here that could hide it."""
        seen = world(kind)
        live(seen, [*before, ("clock", step_ms), *after])
        assert seen.known_joules <= seen.true_joules * (1 + 1e-9) + 1e-3

    @settings(deadline=None)
    @given(history=st.lists(ORDINARY, max_size=60))
    def test_where_nothing_odd_happens_all_of_it_is_known(
        self, kind: str, history: list[tuple[str, int]]
    ) -> None:
        seen = world(kind)
        live(seen, history)
        assert seen.known_joules == pytest.approx(seen.true_joules, rel=1e-9, abs=1e-5)
        assert {k for k in seen.meter.rejected if k not in {"repeated_value"}} == set()
