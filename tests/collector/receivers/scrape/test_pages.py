"""Rules for series and limits on pages, beside what the dialects make of them."""

from __future__ import annotations

import time

import pytest
from tests.fixtures import served

from wattshed_collector.config import Action, Job, Relabel
from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise.dialect import Origin
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.normalise.samples import samples
from wattshed_collector.receivers.scrape.pages import Pages, Read, lines
from wattshed_collector.receivers.scrape.relabel import Rules
from wattshed_collector.receivers.scrape.state import TargetState

NOW_MS = int(time.time() * 1000)


def state(*rules: Relabel, **limits: int) -> TargetState:
    job = Job(name="j", metric_relabel_configs=rules, **limits)  # type: ignore[arg-type]
    return TargetState(Origin("h:1"), job, Rules(rules))


def read(text: bytes, of: TargetState) -> Read:
    return Pages(Normaliser(Limits()), Foreign()).read(text, NOW_MS, of)


WATTS = b'wattshed_power_watts{device="%s"} %d\n'


def watts(said: Read) -> dict[str, float | None]:
    return {tick.device: tick.power_watts for tick in said.batch.ticks}


def test_rules_rename_and_drop_series() -> None:
    of = state(
        Relabel(source_labels=("__name__",), regex="shed_(.*)", target_label="__name__",
                replacement="wattshed_$1"),
        Relabel(source_labels=("device",), regex="no.*", action=Action.DROP),
        Relabel(source_labels=("host", "device"), separator="/", regex="(.+)/(.+)",
                target_label="device", replacement="$1-$2"),
    )  # fmt: skip
    text = b'shed_power_watts{device="a",host="h"} %d\nshed_power_watts{device="none"} 1\n'
    for power in (5, 6):  # the second page is read by what the first one left
        assert watts(read(text % power, of)) == {"h-a": power}
        assert of.samples == 1


def test_a_page_that_is_one_quoted_text_is_unpacked() -> None:
    said = read(served.llama_cpp(quoted=True).encode(), state())
    assert {o.kind: o.total for o in said.batch.outcomes} == {"token_in": 1234570, "token_out": 987}
    with pytest.raises(InvalidInput):
        read(b'"no end', state())


def test_too_many_samples_are_refused_as_a_whole_after_the_rules() -> None:
    text = b"# HELP x y\n\n" + b"".join(WATTS % (name, 1) for name in (b"a", b"b", b"c"))
    of = state(sample_limit=2)
    with pytest.raises(InvalidInput, match="3 samples, the limit is 2"):
        read(text, of)
    drop = Relabel(source_labels=("device",), regex="a", action=Action.DROP)
    of = state(drop, sample_limit=2)
    assert watts(read(text, of)) == {"b": 1, "c": 1}
    assert of.samples == 2


@pytest.mark.parametrize(
    "limits",
    [
        {"label_limit": 1},
        {"label_name_length_limit": 7},
        {"label_value_length_limit": 19},
    ],
)
def test_labels_beyond_a_limit_refuse_the_page(limits: dict[str, int]) -> None:
    text = WATTS % (b"d", 1)
    assert watts(read(text, state(**{name: most + 1 for name, most in limits.items()})))
    with pytest.raises(InvalidInput):
        read(text, state(**limits))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"", 0),
        (b"\n", 0),
        (b"# a\n", 0),
        (b"a 1", 1),
        (b"a 1\n", 1),
        (b"# a\na 1\n\nb 1\n# b\n", 2),
    ],
)
def test_lines_that_are_samples_are_counted(text: bytes, count: int) -> None:
    assert lines(text) == count


def test_what_a_page_shows_no_more_is_not_held_on_to() -> None:
    of = state(Relabel(source_labels=("none",), regex="x", action=Action.DROP))
    many = b"".join(WATTS % (b"d%d" % number, 1) for number in range(50))
    read(many, of)
    assert len(of.rewritten) == 50
    read(WATTS % (b"d1", 1), of)
    assert len(of.rewritten) <= 2
    assert watts(read(WATTS % (b"d1", 7), of)) == {"d1": 7}


def test_what_was_live_ends_with_the_last_page_that_showed_it() -> None:
    pages, of = Pages(Normaliser(Limits()), Foreign()), state()
    row = b'DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1",pod="%s",namespace="ml"} 70\n'
    free = b'DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1"} 70\n'
    start_ms = NOW_MS - NOW_MS % 3_600_000 - 1_800_000  # no full hour lies between

    def held(second: int, text: bytes) -> set[tuple[str, int, int]]:
        batch = pages.read(text, start_ms + 1000 * second, of).batch
        return {
            (
                a.workload.rpartition("/")[2],
                (a.start_ms - start_ms) // 1000,
                (a.end_ms - start_ms) // 1000,
            )
            for a in batch.allocations
        }

    assert held(0, row % b"a") == set()
    assert held(10, row % b"a") == {("a", 0, 10)}
    assert held(20, free) == {("a", 0, 20)}  # sample and hold: until the page that shows it no more
    assert held(30, free) == set()
    assert held(40, row % b"b") == set()
    assert held(50, row % b"b") == {("b", 40, 50)}
    # Scrapes failed for more than three intervals: nobody is known to have held it meanwhile.
    assert held(90, row % b"b") == set()
    assert held(100, row % b"b") == {("b", 90, 100)}


@pytest.mark.parametrize(
    "line", ['x{, =="y"} 1', "{, =={", f"x 1{'0' * 400}\r", 'x{="y"} 1', "x 1_0"]
)
def test_what_the_parser_stumbles_over_is_a_page_that_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        samples(f"y 1\n{line}\n", 0)


def test_a_page_with_line_ends_of_another_kind_has_the_same_numbers() -> None:
    page = 'x{a="b"} 5\ny 2 1234\n'
    said = samples(page.replace("\n", "\r\n"), 0)
    assert [(s.series.name, s.series.labels, s.value) for s in said] == [
        (s.series.name, s.series.labels, s.value) for s in samples(page, 0)
    ]
    assert {type(sample.value) for sample in said} == {float}
