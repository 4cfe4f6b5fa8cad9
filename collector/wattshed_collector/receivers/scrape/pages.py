"""Pages to batches: the rules for series and the limits, then what the dialects make of it.

One thread reads all pages, in groups of whatever has come: it keeps the loop free, and a group
costs one hand-over instead of one for each page.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise.dialect import Sample, Series
from wattshed_collector.normalise.facts import Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.normalise.samples import samples, unquoted
from wattshed_collector.receivers import body
from wattshed_collector.store.stacks import Rows
from wattshed_exporter.model import Batch

from .client import resolve
from .other_samples import OtherSamples
from .reply import Failed
from .state import TargetState

LARGEST_GROUP = 32
"""Pages that are handed over at once; so many wait for one another."""
LINGER_SECONDS = 0.05
"""How long a page waits for others: those of one instant come within that."""


class Read(NamedTuple):
    """What a page says; ``ignored`` counts samples that are no concern of ours."""

    batch: Batch
    frames: tuple[Rows, ...] = ()
    ignored: int = 0


class PageReader(Protocol):
    """Reads pages, on any one thread."""

    def read(self, page: bytes, scraped_ms: int, state: TargetState) -> Read:
        """Return what a page says. Raises InvalidInput where it is refused as a whole."""
        ...


class Pages:
    """Reads a page sample by sample."""

    def __init__(
        self, normaliser: Normaliser, foreign: Foreign, others: OtherSamples | None = None
    ) -> None:
        self._normaliser = normaliser
        self._foreign = foreign
        self._others = others or OtherSamples()

    def read(self, page: bytes, scraped_ms: int, state: TargetState) -> Read:
        """Return what a page says. Raises InvalidInput where it is refused as a whole."""
        rejected: Counter[str] = Counter()
        page = unquoted(page)
        seen = state.sees_series
        if not state.rules:
            state.samples = lines(page)
            _check_count(state)
        try:
            wanted = None if seen else self._others.wanted
            said = samples(page.decode(), scraped_ms, state.known, wanted)
        except ValueError as error:
            raise InvalidInput(f"not a Prometheus exposition: {error}", "malformed") from error
        if seen:
            said = _rewritten(said, state)
            state.samples = len(said)
            _check_count(state)
        said, kept = self._others.parted(said)
        found, ignored = self._foreign.points(said, state.origin, rejected)
        frames = self._others.frames(kept, state, rejected)
        return Read(self._normaliser.batch(found, rejected), frames, ignored)


def lines(page: bytes) -> int:
    """Return how many lines are neither empty nor comments, at the price of four searches.

    Of two empty lines behind each other one is counted, and a comment that is indented.
    """
    ends = page.count(b"\n") + (not page.endswith(b"\n"))
    empty = page.count(b"\n\n") + page.startswith(b"\n") + (not page)
    return ends - empty - page.count(b"\n#") - page.startswith(b"#")


def _check_count(state: TargetState) -> None:
    limit = state.job.sample_limit
    if limit and state.samples > limit:
        told = f"the page has {state.samples} samples, the limit is {limit}"
        raise Failed(told, "sample_limit")


def _rewritten(said: list[Sample], state: TargetState) -> list[Sample]:
    """Apply the rules to each series once, for as long as its target shows it."""
    known, found = state.rewritten, []
    for sample in said:
        series = sample.series
        made = known.get(series, series)
        if made is series:
            made = known[series] = _rewrite(series, state)
        if made is not None:
            found.append(Sample(made, sample.value, sample.ts_ms))
    if len(known) > 2 * len(said):
        known.clear()
    return found


def _rewrite(series: Series, state: TargetState) -> Series | None:
    labels = state.rules.apply({"__name__": series.name, **series.labels})
    if labels is None or not labels.get("__name__"):
        return None
    job = state.job
    if job.label_limit and len(labels) > job.label_limit:
        raise Failed(f"{series.name} has {len(labels)} labels", "label_limit")
    for name, value in labels.items():
        if 0 < job.label_name_length_limit < len(name):
            raise Failed(f"{series.name}: the name {name[:60]!r} is too long", "label_limit")
        if 0 < job.label_value_length_limit < len(value):
            raise Failed(f"{series.name}: the value of {name} is too long", "label_limit")
    # A new one each time, so that it is told apart from what was not looked at yet.
    return Series(labels.pop("__name__"), labels)


Told = Callable[[Read | Exception], None]


class _Waiting(NamedTuple):
    page: bytes
    encoding: str
    scraped_ms: int
    state: TargetState
    told: Told


class Desk:
    """Reads pages on a thread of its own, in the order in which they come."""

    def __init__(self, reader: PageReader, limit: int) -> None:
        self._reader = reader
        self._limit = limit
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="scrape")
        self._waiting: list[_Waiting] = []
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    def put(
        self, page: bytes, encoding: str, scraped_ms: int, state: TargetState, told: Told
    ) -> None:
        """Have a page read, which is unpacked here; ``told`` is called on the event loop."""
        self._waiting.append(_Waiting(page, encoding, scraped_ms, state, told))
        if len(self._waiting) >= LARGEST_GROUP:
            self._next()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(LINGER_SECONDS, self._next)

    async def read(self, page: bytes, encoding: str, scraped_ms: int, state: TargetState) -> Read:
        """Return what a page says. Raises InvalidInput."""
        future: asyncio.Future[Read] = asyncio.get_running_loop().create_future()
        self.put(page, encoding, scraped_ms, state, lambda result: resolve(future, result))
        return await future

    def close(self) -> None:
        """Finish what is being read, begin nothing more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _next(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and not self._busy:
            group, self._waiting = self._waiting[:LARGEST_GROUP], self._waiting[LARGEST_GROUP:]
            self._busy = True
            self._pool.submit(self._work, group, asyncio.get_running_loop())

    def _work(self, group: list[_Waiting], loop: asyncio.AbstractEventLoop) -> None:
        results = [self._result(member) for member in group]
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._tell, group, results)

    def _result(self, member: _Waiting) -> Read | Exception:
        try:
            page = body.decode(member.page, member.encoding, self._limit)
            return self._reader.read(page, member.scraped_ms, member.state)
        except body.TooLarge:
            return Failed(f"the page is beyond {self._limit} bytes", "too_large")
        except Exception as error:  # one page must not keep the others from being read
            return error

    def _tell(self, group: list[_Waiting], results: list[Read | Exception]) -> None:
        self._busy = False
        self._next()
        for member, result in zip(group, results, strict=True):
            member.told(result)
