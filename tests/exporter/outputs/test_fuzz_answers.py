"""Whatever a collector answers to a push: a time to wait, a count of refusals, never a failure."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from wattshed_exporter.outputs.otlp_client import retry_after
from wattshed_exporter.outputs.wire import rejected_points

DATES = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Mon", "Xyz"]),
    st.integers(-1, 40),
    st.sampled_from(["Jan", "Feb", "Dec", "Foo"]),
    st.integers(-1, 10**6) | st.integers(min_value=10**6),
    *[st.integers(-1, 70)] * 3,
    st.sampled_from(["GMT", "+0000", "-9999", "+99999999", "", "\ufffd"]),
)


@given(st.text(max_size=30) | DATES | st.integers().map(str))
@example("Mon, 01 Jan 0001 00:00:00")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example("Mon, 01 Jan 99999999999999999999 00:00:00 GMT")
@example("9" * 400)
def test_any_retry_after(header: str) -> None:
    assert 0 <= retry_after(header) <= 300


GOOD = b"\x0a\x07\x08\x05\x12\x03odd"


@given(st.binary(max_size=60) | st.binary(max_size=4).map(GOOD.__add__))
def test_any_answer(body: bytes) -> None:
    count, message = rejected_points(body)
    assert count >= 0
    assert isinstance(message, str)


def test_an_answer_that_is_right() -> None:
    assert rejected_points(GOOD) == (5, "odd")
    assert rejected_points(GOOD[:3]) == (0, "")
