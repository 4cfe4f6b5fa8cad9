"""Series of remote writes end in the same rows, whether parsed or known from before."""

from __future__ import annotations

import math
import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.fixtures.facts import facts
from tests.fixtures.prompb import request, time_series

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise.dialect import Sample, Series
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.receivers.known_writes import ANEW_SECONDS, STALE_BITS, KnownWrites
from wattshed_collector.receivers.others import Others
from wattshed_collector.receivers.remote_write import MOST_SAMPLES, RemoteWriteDecoder
from wattshed_collector.telemetry import Telemetry

NOW_S = 1_763_856_000
AT_MS = NOW_S * 1000 - 60_000
STALE = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
POWER = "DCGM_FI_DEV_POWER_USAGE"


class Both:
    """A decoder that remembers series, beside one that parses all of them each time."""

    def __init__(self, most_series: int = 1000) -> None:
        self.now_s = float(NOW_S)
        self._told = Telemetry(), Telemetry()
        others = self._others(most_series), self._others(10**6)
        forgetful = KnownWrites(others[1], most_bytes=-1)
        self.decoder = self._decoder(others[0], self._told[0], KnownWrites(others[0]))
        self._reference = self._decoder(others[1], self._told[1], forgetful)

    def says_the_same(self, raw: bytes, sender: str = "") -> int:
        """Return how many samples nobody wanted, of both."""
        before = self._ignored()
        said = facts(*self.decoder.decode(raw, sender))
        assert said == facts(*self._reference.decode(raw, sender))
        ignored = self._ignored() - before
        assert len(set(ignored.tolist())) == 1
        return int(ignored[0])

    def _others(self, most_series: int) -> Others:
        return Others(("node_*",), most_series, Limits(), lambda: self.now_s)

    def _decoder(
        self, others: Others, telemetry: Telemetry, known: KnownWrites
    ) -> RemoteWriteDecoder:
        normaliser = Normaliser(Limits(), lambda: self.now_s)
        return RemoteWriteDecoder(normaliser, Foreign(), others, telemetry, 30.0, known)

    def _ignored(self) -> NDArray[np.int64]:
        name, labels = "wattshed_collector_ignored_total", {"receiver": "remote_write"}
        asked = (told.registry.get_sample_value(name, labels) for told in self._told)
        return np.array([int(count or 0) for count in asked])


def one(name: str, *values: float, at_ms: int = AT_MS, **labels: str) -> bytes:
    series = Series(name, labels)
    return time_series(*(Sample(series, v, at_ms + 1000 * n) for n, v in enumerate(values)))


SERIES = st.tuples(
    st.sampled_from(("node_load1", "node_heat", "go_threads", POWER)),
    st.sampled_from(("a", "b", "\x12\x10\x09aaaaaaaa\x10aaaaaa", "x\x12\x07\x10aaaaaa")),
    st.lists(st.sampled_from((0.0, 1.5, -3.0, 1e300, STALE, 7.0)), min_size=1, max_size=3),
    st.sampled_from((0, 0, 0, 250, -(10**12), 10**12)),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(SERIES, max_size=6), min_size=2, max_size=5))
def test_what_came_before_says_the_same(
    requests: list[list[tuple[str, str, list[float], int]]],
) -> None:
    both = Both()
    for said in requests:
        raw = [
            one(name, *values, at_ms=max(1, AT_MS + late), host=host, UUID="GPU-1")
            for name, host, values, late in said
        ]
        both.says_the_same(request(raw))


def known(both: Both, raw: bytes, sender: str = "") -> tuple[int, int, int]:
    """Return how many rows of a request are known, how many samples unwanted, and bytes left."""
    found = both.decoder.known.take(raw, sender, MOST_SAMPLES)
    rows = -1 if found.frame is None else len(found.frame)
    return rows, found.unwanted, len(found.rest)


def test_series_are_known_in_any_mixture() -> None:
    both = Both()
    names = [f"n{number}" for number in range(20)]
    both.says_the_same(request([one("node_load1", 1.0, host=name) for name in names]))
    assert both.says_the_same(request([one("go_threads", 1.0, 2.0, host=n) for n in names])) == 40
    mixed = [one("node_load1", 0.0, 2.0, host=name) for name in names]
    mixed += [one("go_threads", 4.0, host=name) for name in names]
    random.Random(1).shuffle(mixed)
    assert known(both, request(mixed)) == (40, 20, 0)
    assert both.says_the_same(request(mixed)) == 20
    power = one(POWER, 70.0, UUID="GPU-1")
    assert known(both, request([mixed[0], power]))[2] == len(request([power]))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_in_doubt_goes_the_long_way(value: float) -> None:
    both = Both()
    for _ in range(2):
        both.says_the_same(request([one("node_load1", 1.0, host="a")]))
    for raw in (
        request([one("node_load1", value, host="a")]),
        request([one("node_load1", 1.0, at_ms=AT_MS + 10**9, host="a")]),
        request([one("node_load1", 1.0, at_ms=1000, host="a")]),
    ):
        assert known(both, raw) == (-1, 0, len(raw))
        both.says_the_same(raw)
    assert known(both, request([one("node_load1", STALE, host="a")])) == (0, 0, 0)


def test_a_senders_bound_holds_and_begins_anew_each_hour() -> None:
    both = Both(most_series=3)
    raw = request([one("node_load1", 1.0, host=host) for host in "abc"])
    assert len(both.decoder.decode(raw, "one")[1][0]) == 3
    assert known(both, raw, "one")[0] == 3
    assert known(both, raw, "two")[0] == -1  # who has not written to them this hour
    both.now_s += 3600
    later = request([one("node_load1", 1.0, host=host) for host in "xyz"])
    both.decoder.decode(later, "one")
    assert known(both, raw, "one")[0] == -1
    batch, frames = both.decoder.decode(raw, "one")
    assert (batch.rejected, frames) == ({"too_many_series": 3}, ())


def test_what_is_remembered_is_bounded() -> None:
    clock = [0.0]
    writes = KnownWrites(Others((), 1, Limits()), lambda: clock[0], most_bytes=2000)

    def note(number: int) -> bytes:
        raw = one("node_load1", 1.0, host=f"n{number}")
        writes.note(raw, raw[:-18], "node_load1", f'{{"host":"n{number}"}}')
        return raw[:-18]

    labels = [note(number) for number in range(50)]
    assert 0 < sum(writes.knows(one_of) for one_of in labels) < 10
    clock[0] = ANEW_SECONDS
    last = note(100)
    assert [writes.knows(one_of) for one_of in (*labels, last)] == [False] * 50 + [True]


def test_a_request_beyond_the_limit_is_left_alone() -> None:
    both = Both()
    raw = request([one("go_threads", *([1.0] * 12), host="a")])
    both.says_the_same(raw)
    assert both.decoder.known.take(raw, "", 12).unwanted == 12
    assert both.decoder.known.take(raw, "", 11) == (None, 0, raw)
    for cut in (raw[:-1], raw + b"\x0a", raw + b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"):
        assert both.decoder.known.take(cut, "", 100).rest == cut
    for size in range(1, len(raw)):  # wherever it breaks off
        cut = raw[:size]
        assert both.decoder.known.take(cut, "", 100) == (None, 0, cut)


@pytest.mark.parametrize("name", ["go_threads", "node_load1"])
@pytest.mark.parametrize("value", [0.0, 1.5])
def test_a_time_that_is_no_number_makes_the_request_malformed(name: str, value: float) -> None:
    both = Both()
    good = one(name, value, host="a")
    both.says_the_same(request([good]))
    bad = request([good[:-3] + b"\x01" + good[-2:]])  # it ends early, and what follows is no field
    assert known(both, bad) == (-1, 0, len(bad))
    with pytest.raises(InvalidInput, match="not a remote write"):
        both.says_the_same(bad)
