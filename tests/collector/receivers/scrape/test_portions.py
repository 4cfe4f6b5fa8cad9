"""Pages are written together, one portion after the other, and none is lost for another's sake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from wattshed_collector.errors import Permanent, Retryable
from wattshed_collector.receivers.scrape.pages import Read
from wattshed_collector.receivers.scrape.portions import Page, Portions, together
from wattshed_collector.store.frames import frame
from wattshed_collector.store.stacks import Rows
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick

POISON = "poison"


def page(device: str, ts_ms: int = 1) -> Read:
    return Read(
        Batch(
            devices=(Device(device, Kind.GPU, "n", "nvml"),),
            ticks=(Tick(device, ts_ms, 1000, Method.COUNTER, 1.0),),
        ),
        (frame("tick", ticks(device, ts_ms)),),
        1,
    )


def ticks(device: str, ts_ms: int) -> dict[str, list[object]]:
    return {
        "ts": [ts_ms],
        "device_id": [len(device)],
        "interval_ms": [1000],
        "method": ["counter"],
    }


class Books:
    """Takes what is submitted, and notes what was settled."""

    def __init__(self, error: Exception | None = None) -> None:
        self.submitted: list[list[str]] = []
        self.futures: list[Future[None]] = []
        self.settled: list[tuple[list[str], Exception | None]] = []
        self.is_held = False
        self._error = error

    def submit(self, batch: Batch, frames: tuple[Rows, ...]) -> Future[None]:
        if self._error is not None:
            raise self._error
        assert len(frames) == len(batch.ticks)
        future: Future[None] = Future()
        self.submitted.append([tick.device for tick in batch.ticks])
        self.futures.append(future)
        if not self.is_held:
            self.finish()
        return future

    def finish(self) -> None:
        """Write what was submitted: all of it, or nothing where a page cannot be."""
        for devices, future in zip(self.submitted, self.futures, strict=True):
            if future.done():
                continue
            if POISON in devices:
                future.set_exception(Permanent("never"))
            else:
                future.set_result(None)

    def note(self, pages: Sequence[Page[str]], said: Read, error: Exception | None) -> None:
        self.settled.append(([one.whose for one in pages], error))

    def portions(
        self, nobody_due: Callable[[float], bool] = lambda seconds: False, most_rows: int = 100
    ) -> Portions[str]:
        made = Portions(self.submit, self.note, nobody_due, most_rows)
        made.interval(0.02)
        return made


def put(portions: Portions[str], *devices: str) -> None:
    for device in devices:
        portions.put(device, page(device))


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not done():  # noqa: ASYNC110 (no event tells it)
            await asyncio.sleep(0.005)


async def test_what_comes_within_a_while_is_written_once() -> None:
    books = Books()
    put(books.portions(), "a", "b", "c")
    assert books.submitted == []
    await until(lambda: books.settled)
    assert books.submitted == [["a", "b", "c"]]
    assert books.settled == [(["a", "b", "c"], None)]


async def test_where_nobody_else_is_due_nothing_is_held() -> None:
    books = Books()
    portions = books.portions(lambda seconds: True)
    portions.hold_seconds = 3600.0
    put(portions, "a")
    assert books.submitted == [["a"]]
    await until(lambda: books.settled)


async def test_the_next_portion_gathers_while_one_is_under_way() -> None:
    books = Books()
    books.is_held = True
    portions = books.portions(most_rows=9)
    put(portions, "a")
    portions.flush()
    put(portions, "b")
    assert not portions.is_full
    put(portions, "c", "d")
    assert portions.is_full  # each counts its page, device, tick and row
    await asyncio.sleep(0.03)  # longer than it is held
    assert books.submitted == [["a"]]
    books.is_held = False
    books.finish()
    await until(lambda: len(books.settled) == 2)
    assert books.submitted == [["a"], ["b", "c", "d"]]
    assert not portions.is_full


async def test_a_page_that_can_never_be_written_takes_no_other_with_it() -> None:
    books = Books()
    portions = books.portions()
    put(portions, "a", POISON, "b")
    portions.flush()
    await until(lambda: len(books.settled) == 3)
    found = {tuple(whose): type(error) for whose, error in books.settled}
    assert found == {("a",): type(None), ("b",): type(None), (POISON,): Permanent}


async def test_what_is_not_taken_in_is_told_of_every_page() -> None:
    books = Books(Retryable("full"))
    portions = books.portions()
    put(portions, "a", "b")
    portions.flush()
    ((whose, error),) = books.settled
    assert whose == ["a", "b"]
    assert isinstance(error, Retryable)


def test_together_they_say_what_each_says() -> None:
    told = [("a", 1), ("b", 1), ("a", 2), ("a", 1)]
    reads = [page(device, ts_ms) for device, ts_ms in told]
    said = together(reads)
    assert [(tick.device, tick.ts_ms) for tick in said.batch.ticks] == told
    assert [device.key for device in said.batch.devices] == ["a", "b"]
    assert [part for read in reads for part in read.frames] == list(said.frames)
    assert said.ignored == 4
