"""Numbers of known lines are those that the page says, or the page is given back as odd."""

from __future__ import annotations

from math import isnan

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from wattshed_collector.normalise.dialect import Series
from wattshed_collector.normalise.page_lines import PageLines, mark
from wattshed_collector.normalise.samples import samples
from wattshed_collector.normalise.slots import Odd

TEXTS = st.sampled_from(("a", "a b", "", "ü", r"\\", r"\"", r"\n", "} 5", "x=1,y", "#"))
NUMBERS = st.one_of(
    st.floats().map(repr),
    st.floats(0, 1e20).map(lambda number: f"{number:.3f}"),
    st.integers(-5, 10**18).map(str),
    st.sampled_from(("NaN", "+Inf", "-Inf", "inf", "1e5", "1E+5", ".5", "5.", "-0", "1e400")),
    st.sampled_from(("5 1700000000000", "5  ", "1_0", "0x1", "infinity", "", "5\r", " 5", "five")),
)
COMMENTS = st.sampled_from(("# HELP x says", "# TYPE x gauge", "", "#", "# EOF", " # x", "\r"))


@st.composite
def heads(draw: st.DrawFn) -> str:
    """Draw what stands before a number."""
    name = draw(st.sampled_from(("x", "xy", "up", "a:b")))
    labels = draw(st.dictionaries(st.sampled_from("klm"), TEXTS, max_size=2))
    if not labels:
        return draw(st.sampled_from((name, name + "{}")))
    return name + "{" + ",".join(f'{key}="{text}"' for key, text in labels.items()) + "}"


lines = st.one_of(
    *[st.tuples(heads(), NUMBERS.filter(lambda text: len(text) > 1))] * 4,
    st.tuples(st.just("#"), COMMENTS),
)
Said = list[tuple[str, str]]


def page(said: Said, end: str) -> str:
    return end.join(text if head == "#" else f"{head} {text}" for head, text in said)


@st.composite
def later(draw: st.DrawFn, before: Said) -> Said:
    """Draw what is said next: mostly the same with other numbers."""
    said = [
        (head, draw(COMMENTS if head == "#" else NUMBERS)) if draw(st.integers(0, 3)) == 0 else
        (head, text)
        for head, text in before
    ]  # fmt: skip
    match draw(st.integers(0, 9)):
        case 0:
            said = said[1:]
        case 1:
            said.append(draw(lines))
        case 2:
            said.reverse()
        case 3:
            said[0] = (draw(heads()), "7")
        case _:
            pass
    return said


@settings(max_examples=60, deadline=None)
@given(
    st.text('ab=,{}#\\"\u2028 \t', max_size=6),
    st.sampled_from(("k", "k_1", "__k", "__name__", "k:x", "l")),
)
def test_labels_are_those_of_the_whole_parser(text: str, name: str) -> None:
    line = f'x{{{name}="{text}",l="2"}} 5'
    try:
        (family,) = text_string_to_metric_families(line)
        expected = [("x", dict(one.labels), one.value) for one in family.samples]
    except ValueError:
        assert read(line, {}) is None
    else:
        assert read(line, {}) == expected


def read(text: str, known: dict[str, Series]) -> list[tuple[str, dict[str, str], float]] | None:
    try:
        said = samples(text, 1, known)
    except ValueError:
        return None
    return [(one.series.name, dict(one.series.labels), one.value) for one in said]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_read_is_what_the_page_says(data: st.DataObject) -> None:
    said = data.draw(st.lists(lines, min_size=1, max_size=6))
    end = data.draw(st.sampled_from(("\n", "\n", "\n", "\r\n")))
    known: dict[str, Series] = {}
    text = page(said, end)
    if read(text, known) is None:
        return
    try:
        remembered = PageLines(text.encode(), known, None)
    except Odd:
        return
    for _ in range(2):
        said = data.draw(later(said)) or said
        text = page(said, end)
        expected = read(text, {})
        try:
            found = remembered.values(text.encode())
        except Odd:
            continue
        assert expected is not None
        names = [(one.name, dict(one.labels)) for one in remembered.series]
        assert names == [told[:2] for told in expected]
        for value, (*_, other) in zip(found.tolist(), expected, strict=True):
            assert value == other or (isnan(value) and isnan(other))


def test_an_array_that_was_given_stays_as_it_is() -> None:
    known: dict[str, Series] = {}
    samples('x{a="1"} 1\ny 2', 1, known)
    remembered = PageLines(b'x{a="1"} 1\ny 2', known, None)
    first = remembered.values(b'x{a="1"} 3\ny 2')
    second = remembered.values(b'x{a="1"} 4\ny NaN')
    assert first.tolist() == [3.0, 2.0]
    assert second[0] == 4.0
    assert isnan(second[1])


def test_pages_are_alike_whatever_their_numbers() -> None:
    assert mark(b'# a b\nx 1\ny{k="v w"} 2\n') == mark(b'# a b\nx 5\ny{k="v w"} NaN\n')
    assert mark(b"x 1\ny 2") != mark(b"y 1\nx 2")
