"""A spool whose folder goes away or fills up, and one that is closed while it is surveyed."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wattshed_exporter.spool import Memory
from wattshed_exporter.spool_disk import LEAST_FREE_BYTES, RETRY_SECONDS, Disk, room

MIB = 1 << 20


class Bench:
    """A spool on a folder, what it lost, and a clock and a file system that do as told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.losses: list[tuple[str, int, int]] = []
        self.now = 1000.0
        self.free: int | None = None

    def lost(self, reason: str, bodies: int, ticks: int) -> None:
        self.losses.append((reason, bodies, ticks))

    def room(self, folder: int) -> tuple[int, int]:
        free, size = room(folder)
        return (free, size) if self.free is None else (self.free, 1 << 40)

    def make(self, limit: int = 8 * MIB) -> Disk:
        memory = Memory(MIB, self.lost)
        return Disk(self.folder, limit, memory, self.lost, clock=lambda: self.now, room=self.room)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "state" / "spool")


@pytest.fixture
def spool(bench: Bench) -> Iterator[Disk]:
    made = bench.make()
    made.open()
    yield made
    made.close()


def fill(spool: Disk, *numbers: int) -> None:
    for number in numbers:
        spool.put(b"%d" % number, 5, number)


def drain(spool: Disk) -> list[int]:
    found = []
    while record := spool.peek():
        found.append(int(record.body.split()[0]))
        assert spool.ack(record)
    return found


def test_a_folder_that_was_removed_is_made_anew(bench: Bench, spool: Disk) -> None:
    fill(spool, 1, 2, 3)
    first = spool.peek()
    assert first is not None
    assert spool.ack(first)
    shutil.rmtree(bench.folder.parent)
    fill(spool, 4, 5)
    assert bench.folder.is_dir()
    assert spool.level().on_disk
    spool.close()
    again = bench.make()
    again.open()
    assert drain(again) == [2, 3, 4, 5]
    assert bench.losses == []
    again.close()


def test_what_is_sent_next_is_found_after_the_folder_was_removed(bench: Bench, spool: Disk) -> None:
    fill(spool, 1, 2)
    shutil.rmtree(bench.folder)
    assert not bench.folder.exists()
    assert drain(spool) == [1, 2]
    fill(spool, 3)
    assert spool.level().on_disk
    assert drain(spool) == [3]
    assert bench.losses == []


def test_an_older_file_is_lost_with_its_folder_and_counted(bench: Bench, spool: Disk) -> None:
    for number in range(20):
        spool.put(b"%d " % number + os.urandom(20_000), 5, number)
    assert len(list(bench.folder.iterdir())) > 2
    shutil.rmtree(bench.folder)
    fill(spool, 20)
    kept = drain(spool)
    assert kept[-1] == 20
    assert {reason for reason, _, _ in bench.losses} == {"unreadable"}
    assert 5 * len(kept) + sum(ticks for _, _, ticks in bench.losses) == 5 * 21


def test_a_folder_that_cannot_be_made_anew_is_tried_again(bench: Bench, spool: Disk) -> None:
    fill(spool, 1)
    shutil.rmtree(bench.folder.parent)
    bench.folder.parent.write_text("a file is in the way")
    fill(spool, 2)
    assert not spool.level().on_disk
    bench.folder.parent.unlink()
    bench.now += RETRY_SECONDS
    fill(spool, 3)
    assert spool.level().on_disk
    assert drain(spool) == [1, 2, 3]


def test_another_file_system_in_its_place_is_used(bench: Bench, spool: Disk) -> None:
    fill(spool, 1)
    bench.folder.rename(bench.folder.with_name("elsewhere"))
    bench.folder.mkdir()
    fill(spool, 2)
    assert len(list(bench.folder.iterdir())) == 1
    assert drain(spool) == [1, 2]


def test_it_leaves_room_to_others(bench: Bench, spool: Disk) -> None:
    def used() -> int:
        return sum(file.stat().st_size for file in bench.folder.iterdir())

    for number in range(100):
        spool.put(b"%d " % number + os.urandom(20_000), 5, number)
    before = used()
    bench.free = LEAST_FREE_BYTES - 1
    for number in range(100, 200):
        spool.put(b"%d " % number + os.urandom(20_000), 5, number)
        assert used() <= before
    assert {reason for reason, _, _ in bench.losses} == {"full"}
    kept = drain(spool)
    assert kept == list(range(kept[0], 200))
    bench.free = None
    for number in range(150):
        spool.put(b"%d " % number + os.urandom(20_000), 5, number)
    assert used() > before
    assert len(drain(spool)) == 150


def test_a_survey_can_be_cut_short_and_what_comes_is_kept(bench: Bench, spool: Disk) -> None:
    for number in range(40):
        spool.put(b"%d " % number + os.urandom(20_000), 5, number)
    files = len(list(bench.folder.iterdir()))
    spool.close()
    again = bench.make()
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 3

    again.open(stop)
    assert files > len(asked) == 3
    fill(again, 40)
    again.close()
    last = bench.make()
    last.open()
    assert drain(last) == list(range(41))
    last.close()
    assert bench.losses == []


def test_closing_ends_a_survey(bench: Bench, spool: Disk) -> None:
    for number in range(40):
        spool.put(b"%d " % number + os.urandom(20_000), 5, number)
    spool.close()
    again, seen = bench.make(), threading.Event()
    goes_on = threading.Event()
    asked: list[int] = []

    def stop() -> bool:  # a disk that takes its time over each file
        asked.append(1)
        seen.set()
        goes_on.wait(10)
        return False

    survey = threading.Thread(target=again.open, args=(stop,))
    survey.start()
    assert seen.wait(120)
    again.close()  # does not wait for it
    goes_on.set()
    survey.join(120)
    assert asked == [1]
