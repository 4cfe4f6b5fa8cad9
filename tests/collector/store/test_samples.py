"""Details in the store: one row each whatever is sent again, and views that are exact."""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattshed_collector.store import queries
from wattshed_exporter.model import Batch, Detail, Device, Kind, Method, Tick, stable_id

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200_000  # 2026-01-15T10:00:00Z
MINUTE, HOUR = 60_000, 3_600_000
SECONDS, JOULES = "wattshed_activity_seconds_total", "wattshed_activity_joules_total"
FEW = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
"""Every example asks the real engine."""

Found = dict[tuple[str, int, str], tuple[float, float]]
"""Seconds and joules by device, hour (counted from BASE) and class."""


def clock(at: int, hertz: float = 1.98e9, domain: str = "sm", device: str = "d") -> Detail:
    return Detail(device, "wattshed_clock_hertz", BASE + at, hertz, (domain,))


def stored(bed: Bed) -> list[tuple[object, ...]]:
    return bed.client.rows(
        "SELECT device_id, metric, labels, toUnixTimestamp64Milli(ts), value, "
        "toUnixTimestamp64Milli(start_ts) FROM v_sample "
        "ORDER BY device_id, metric, labels, ts"
    )


class TestRows:
    def test_what_is_said_is_what_is_there(self, bed: Bed) -> None:
        odd = ("1/0", 'say "hi" µ\n', "", "7")
        bed.write(
            Batch(
                details=(
                    clock(0),
                    Detail("d", "wattshed_contexts", BASE, 2.0),
                    Detail("d", "wattshed_mig_instance_info", BASE, 1.0, odd),
                    Detail("d", SECONDS, BASE, 0.1 + 0.2, ("busy",), BASE - 7),
                )
            )
        )
        d = stable_id("d")
        assert stored(bed) == [
            (d, SECONDS, '{"class":"busy"}', BASE, 0.1 + 0.2, BASE - 7),
            (d, "wattshed_clock_hertz", '{"domain":"sm"}', BASE, 1.98e9, None),
            (d, "wattshed_contexts", "{}", BASE, 2.0, None),
            (
                d,
                "wattshed_mig_instance_info",
                '{"instance":"1/0","profile":"say \\"hi\\" µ\\n","uuid":"","slices":"7"}',
                BASE,
                1.0,
                None,
            ),
        ]
        (label,) = bed.client.rows(
            "SELECT JSONExtractString(labels, 'profile') FROM sample WHERE metric LIKE '%mig%'"
        )
        assert label == ('say "hi" µ\n',)

    def test_what_makes_a_row_itself(self, bed: Bed) -> None:
        bed.write(
            Batch(
                details=(
                    clock(0),
                    clock(1),
                    clock(0, domain="memory"),
                    clock(0, device="e"),
                    replace(clock(0), metric="wattshed_throttled"),
                    clock(0),
                )
            )
        )
        assert len(stored(bed)) == 5

    def test_the_later_row_stands(self, bed: Bed) -> None:
        bed.write(Batch(details=(clock(0, 1.0),)), Batch(details=(clock(0, 2.0), clock(0, 3.0))))
        assert [row[4] for row in stored(bed)] == [3.0]

    @FEW
    @given(st.lists(st.lists(st.integers(0, 5), max_size=8), max_size=5), st.randoms())
    def test_order_and_repeats_change_nothing(
        self, bed: Bed, batches: list[list[int]], dice: random.Random
    ) -> None:
        every = [[clock(at * HOUR, 1e9 + at) for at in times] for times in batches]
        bed.clean()
        bed.write(*(Batch(details=tuple(details)) for details in every))
        once = stored(bed)
        again = [*every, *every]
        dice.shuffle(again)
        bed.write(*(Batch(details=tuple(details)) for details in again))
        assert stored(bed) == once
        assert len(once) == len({at for times in batches for at in times})

    def test_they_count_for_the_queue_and_the_counters(self, bed: Bed) -> None:
        writer = bed.writer(window_seconds=0.3, queue_rows=10)
        future = writer.submit(Batch(details=tuple(clock(at) for at in range(8))))
        assert writer.queued_rows == 9
        future.result(120)
        writer.close()
        assert (writer.counters.details, writer.counters.ticks) == (8, 0)


class TestDevices:
    def names(self, bed: Bed) -> list[tuple[object, ...]]:
        return bed.client.rows("SELECT DISTINCT device, kind, node FROM v_sample ORDER BY device")

    def test_one_that_nobody_described_has_its_key(self, bed: Bed) -> None:
        bed.write(Batch(details=(clock(0, device="unheard"),)))
        assert self.names(bed) == [("unheard", "", "")]

    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_description_that_comes_later_holds(self, bed: Bed, restarted: bool) -> None:
        described = Batch(devices=(Device("d", Kind.GPU, "n", "s"),), details=(clock(1),))
        detail = Batch(details=(clock(2),))
        writer = bed.writer()
        for batch in (Batch(details=(clock(0),)), described, detail):
            writer.submit(batch).result(120)
        writer.close()
        if restarted:
            bed.write(detail)  # by a writer that has heard of no device yet
        assert self.names(bed) == [("d", "gpu", "n")]
        assert len(stored(bed)) == 3

    def test_it_is_named_once(self, bed: Bed) -> None:
        bed.write(*(Batch(details=(clock(at),)) for at in range(4)))
        assert bed.client.rows("SELECT count() FROM device") == [(1,)]

    def test_one_of_the_same_request_needs_no_naming(self, bed: Bed) -> None:
        bed.write(Batch(devices=(Device("d", Kind.GPU, "n", "s"),), details=(clock(0),)))
        assert bed.client.rows("SELECT key, kind FROM device") == [("d", "gpu")]


class TestLatest:
    def test_the_newest_of_each_series(self, bed: Bed) -> None:
        now = int(time.time() * 1000) - BASE
        bed.write(
            Batch(
                devices=(Device("d", Kind.GPU, "n", "s"),),
                details=(
                    clock(now - 1000, 3.0),
                    clock(now - 2000, 9.0),
                    clock(now - 60_000, 5.0, "memory"),
                    clock(now - 3_000_000, 7.0, "video"),
                    clock(now - 1000, 4.0, device="e"),
                ),
            )
        )
        rows = bed.client.rows(
            "SELECT device, node, labels, value FROM v_sample_latest ORDER BY device, labels"
        )
        assert rows == [
            ("d", "n", '{"domain":"memory"}', 5.0),
            ("d", "n", '{"domain":"sm"}', 3.0),
            ("e", "", '{"domain":"sm"}', 4.0),
        ]
        bed.write(Batch(details=(clock(now - 1000, 3.5),)))
        assert queries.details(bed.client, "d") == [
            {"metric": "wattshed_clock_hertz", "labels": {"domain": name}, "value": value,
             "ts": (BASE + now - ago) / 1000}
            for name, value, ago in (("memory", 5.0, 60_000), ("sm", 3.5, 1000))
        ]  # fmt: skip
        assert queries.details(bed.client, "nobody") == []


def counted(
    at: int, value: float, start: int | None = None, name: str = "idle", metric: str = SECONDS
) -> Detail:
    since = None if start is None else BASE + start
    return Detail("d", metric, BASE + at, value, (name,), since)


def activity(bed: Bed) -> Found:
    rows = bed.client.rows(
        "SELECT device, toUnixTimestamp(t), class, seconds, joules FROM v_activity "
        "WHERE seconds != 0 OR joules != 0"
    )
    return {(str(d), (t - BASE // 1000) // 3600, str(c)): (s, j) for d, t, c, s, j in rows}


class TestActivity:
    def test_by_hand(self, bed: Bed) -> None:
        bed.write(
            Batch(
                devices=(Device("d", Kind.GPU, "n", "s"),),
                details=(
                    # Counted since ten minutes before it is first heard: those count.
                    counted(10 * MINUTE, 600.0, 0),
                    counted(10 * MINUTE, 6000.0, 0, metric=JOULES),
                    counted(50 * MINUTE, 3000.0, 0),
                    counted(50 * MINUTE, 30_000.0, 0, metric=JOULES),
                    # 20 minutes across the border of the hour, half on either side.
                    counted(70 * MINUTE, 4200.0, 0),
                    counted(70 * MINUTE, 42_000.0, 0, metric=JOULES),
                    # The exporter began again at 1:20; it had counted on for the ten before.
                    counted(90 * MINUTE, 480.0, 80 * MINUTE),
                    counted(90 * MINUTE, 9999.0, 80 * MINUTE, metric=JOULES),
                    # Another class, first heard long after it began: its increase alone counts.
                    counted(75 * MINUTE, 5e6, -9 * HOUR, "busy"),
                    counted(80 * MINUTE, 5e6 + 30, -9 * HOUR, "busy"),
                ),
            )
        )
        assert activity(bed) == {
            ("d", 0, "idle"): (3600.0, 36_000.0),
            ("d", 1, "idle"): (600.0 + 480.0, 6000.0 + 9999.0),
            ("d", 1, "busy"): (30.0, 0.0),
        }

    def test_a_counter_that_falls_without_a_start_began_again(self, bed: Bed) -> None:
        said = ((5, 100.0), (10, 250.0), (20, 40.0), (30, 60.0), (70, 30.0), (80, 35.0))
        bed.write(Batch(details=tuple(counted(at * MINUTE, value) for at, value in said)))
        # 150, then 40 + 20; then 30 spread over the 40 minutes from 0:30 to 1:10; then 5.
        assert activity(bed) == {
            ("d", 0, "idle"): (150.0 + 60.0 + 22.5, 0.0),
            ("d", 1, "idle"): (7.5 + 5.0, 0.0),
        }

    def test_a_counter_that_has_overtaken_its_old_self_began_again_by_its_start(
        self, bed: Bed
    ) -> None:
        said = (counted(MINUTE, 60.0, 0), counted(30 * MINUTE, 900.0, 15 * MINUTE))
        bed.write(Batch(details=said))
        assert activity(bed) == {("d", 0, "idle"): (960.0, 0.0)}

    def test_hours_without_a_word_share_what_was_counted(self, bed: Bed) -> None:
        said = (counted(-HOUR // 2, 0.0, -HOUR // 2), counted(7 * HOUR // 2, 14_400.0, -HOUR // 2))
        bed.write(Batch(details=said))
        found = activity(bed)
        assert [found["d", hour, "idle"][0] for hour in range(-1, 4)] == [1800, *[3600] * 3, 1800]

    def test_pushed_and_pulled_counts_once(self, bed: Bed) -> None:
        pushed = [counted(at * MINUTE, at * 60.0, 0) for at in range(10, 100, 10)]
        pulled = [replace(detail, ts_ms=detail.ts_ms + 7, start_ms=None) for detail in pushed]
        bed.write(Batch(details=(*pushed, *pulled)))
        assert activity(bed) == {("d", 0, "idle"): (3600.0, 0), ("d", 1, "idle"): (1800.0, 0)}

    def test_a_new_counter_that_has_overtaken_the_old_is_known_by_its_start_alone(
        self, bed: Bed
    ) -> None:
        told = ((0, 0.0, 0), (10, 600.0, 0), (20, 5.0, 19), (40, 1100.0, 19))
        said = tuple(counted(at * MINUTE, value, start * MINUTE) for at, value, start in told)
        bed.write(Batch(details=said))
        assert activity(bed) == {("d", 0, "idle"): (1700.0, 0.0)}
        bed.clean()
        bed.write(Batch(details=tuple(replace(detail, start_ms=None) for detail in said)))
        assert activity(bed) == {("d", 0, "idle"): (1100.0, 0.0)}

    @pytest.mark.parametrize("start", [0, None])
    @pytest.mark.parametrize("values", [(300.0, 310.0), (310.0, 300.0)])
    def test_two_values_at_one_instant_are_the_higher(
        self, bed: Bed, start: int | None, values: tuple[float, float]
    ) -> None:
        before = (counted(1, 0.0, start), counted(HOUR - 1, 60.0, start))
        twice = (counted(HOUR + 5 * MINUTE, value, start) for value in values)
        bed.write(Batch(details=before), *(Batch(details=(detail,)) for detail in twice))
        found = activity(bed)
        assert set(found) == {("d", 0, "idle"), ("d", 1, "idle")}
        assert sum(seconds for seconds, _ in found.values()) == pytest.approx(310.0, rel=1e-12)

    def test_a_correction_downwards_is_no_new_counter_where_the_start_says_so(
        self, bed: Bed
    ) -> None:
        told = ((1, 60.0), (10, 700.0), (10, 600.0), (11, 660.0), (59, 3550.0), (59, 3540.0))
        bed.write(*(Batch(details=(counted(at * MINUTE, value, 0),)) for at, value in told))
        assert activity(bed) == {("d", 0, "idle"): (3550.0, 0.0)}
        bed.write(Batch(details=(counted(61 * MINUTE, 3545.0, 0),)))
        assert activity(bed) == {("d", 0, "idle"): (3550.0, 0.0)}

    @FEW
    @given(st.data())
    def test_the_view_is_the_rule(self, bed: Bed, data: st.DataObject) -> None:
        dice = data.draw(st.randoms(use_true_random=False))
        said = [detail for device in "abcdef" for detail in lives(device, dice)]
        sent = said + dice.sample(said, len(said) // 3)
        dice.shuffle(sent)
        bed.clean()
        half = len(sent) // 2
        bed.write(Batch(details=tuple(sent[:half])), Batch(details=tuple(sent[half:])))
        found, expected = activity(bed), rule(said)
        for key in {*found, *expected}:
            assert found.get(key, (0.0, 0.0)) == pytest.approx(
                expected.get(key, (0.0, 0.0)), rel=1e-9, abs=1e-9
            ), key


def lives(device: str, dice: random.Random) -> list[Detail]:
    """The counters of one device whose exporter is started now and then, with gaps in between."""
    found, at = [], BASE - dice.randrange(3 * HOUR)
    for _ in range(dice.randint(1, 4)):
        start = at + dice.randrange(1, HOUR)
        at, value = start, 0.0
        for _ in range(dice.randint(1, 8)):
            at += dice.choice((5000, 5000, MINUTE, 50 * MINUTE, 5 * HOUR, HOUR - at % HOUR))
            value += dice.choice((0.0, 1.5, 3600.0))
            # Now and then the time stands still, or what was said is corrected.
            for told in (value, value - dice.choice((0.0, 1.5)) * (value > 1.5)):
                for metric in (SECONDS, JOULES):
                    found.append(Detail(device, metric, at, told, ("idle",), start))
    return found


def rule(said: Iterable[Detail]) -> Found:
    """Increases of neighbours in time, spread evenly over the hours between them.

    Of two values at one instant the higher counts.
    """
    series: dict[tuple[str, str, str], dict[int, Detail]] = defaultdict(dict)
    for detail in sorted(said, key=lambda detail: detail.value):
        series[detail.device, detail.attributes[0], detail.metric][detail.ts_ms] = detail
    found: dict[tuple[str, int, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for (device, name, metric), at in series.items():
        for start, end, increase in increases([at[ts] for ts in sorted(at)]):
            for hour in range(start // HOUR, (end - 1) // HOUR + 1):
                inside = min(end, (hour + 1) * HOUR) - max(start, hour * HOUR)
                key = device, hour - BASE // HOUR, name
                found[key][metric == JOULES] += increase * inside / (end - start)
    return {key: (seconds, joules) for key, (seconds, joules) in found.items()}


def increases(said: Sequence[Detail]) -> Iterable[tuple[int, int, float]]:
    before: Detail | None = None
    for detail in said:
        start = detail.start_ms or 0
        if before is None:
            if detail.ts_ms - start <= HOUR:
                yield start, detail.ts_ms, detail.value
        elif start > before.ts_ms:
            yield start, detail.ts_ms, detail.value
        else:
            yield before.ts_ms, detail.ts_ms, detail.value - before.value
        before = detail


def test_ticks_and_details_of_one_batch_are_both_there(bed: Bed) -> None:
    tick = Tick("d", BASE, 1000, Method.COUNTER, 1.0)
    bed.write(Batch(ticks=(tick,), details=(clock(0),)))
    assert bed.client.rows("SELECT count() FROM tick") == [(1,)]
    ((labels,),) = bed.client.rows("SELECT labels FROM v_sample")
    assert json.loads(str(labels)) == {"domain": "sm"}
