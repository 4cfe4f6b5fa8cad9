"""Which policy is in force when, and what is written to change it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed_collector.store import policies
from wattshed_collector.store.policies import HostRemainder, Override, Policies, Rule
from wattshed_exporter.model import IdlePolicy

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR = 1_768_471_200
HOLDER = Rule()
PLATFORM = Rule(IdlePolicy.PLATFORM, 300, HostRemainder.PROPORTIONAL)


def test_each_hour_has_the_rule_that_began_last() -> None:
    known = Policies([(0, HOLDER), (HOUR, PLATFORM)], Rule(idle_below_e4=1))
    assert known.at(HOUR - 1) == HOLDER
    assert known.at(HOUR) == PLATFORM
    assert Policies([], PLATFORM).at(HOUR) == PLATFORM


def test_the_first_rule_is_in_force_for_all_times() -> None:
    assert Policies([], HOLDER).adopting(PLATFORM, HOUR) == [(0, PLATFORM)]


def test_a_rule_is_written_only_where_it_changes() -> None:
    known = Policies([(0, HOLDER)], HOLDER)
    assert known.adopting(HOLDER, HOUR) == []
    assert known.adopting(PLATFORM, HOUR) == [(HOUR, PLATFORM)]


def test_a_rule_follows_one_that_begins_later_this_hour() -> None:
    known = Policies([(0, HOLDER), (HOUR + 3600, PLATFORM)], HOLDER)
    assert known.adopting(HOLDER, HOUR) == [(HOUR + 3600, HOLDER)]


def test_an_override_holds_within_its_window_only() -> None:
    rows = [(0, HOLDER), (HOUR + 3600, PLATFORM)]
    override = Override(IdlePolicy.PROPORTIONAL)
    written = Policies(rows, HOLDER).overriding(override, HOUR, HOUR + 7200)
    merged = Policies(sorted({**dict(rows), **dict(written)}.items()), HOLDER)
    assert merged.at(HOUR - 1) == HOLDER
    assert merged.at(HOUR) == Rule(IdlePolicy.PROPORTIONAL)
    assert merged.at(HOUR + 3600) == override.of(PLATFORM)
    assert merged.at(HOUR + 7200) == PLATFORM


def test_an_override_before_any_rule_leaves_the_time_before_it() -> None:
    written = Policies([], HOLDER).overriding(Override(idle_below_e4=7), HOUR, HOUR + 3600)
    assert written == [(0, HOLDER), (HOUR, Rule(idle_below_e4=7)), (HOUR + 3600, HOLDER)]


def test_the_store_gives_back_what_was_written_the_newest_version_of_each_start(bed: Bed) -> None:
    policies.write(bed.client, [(0, HOLDER), (HOUR, HOLDER)], 1)
    policies.write(bed.client, [(HOUR, PLATFORM)], 2)
    policies.write(bed.client, [], 3)
    known = policies.read(bed.client, Rule(idle_below_e4=1))
    assert known.rows == [(0, HOLDER), (HOUR, PLATFORM)]
