"""A disk that fills up: refused in time, the ballast given up, old days dropped, and back again."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.fixtures.stores import Stores

from wattshed_collector.errors import Retryable
from wattshed_collector.store.budget import Budget
from wattshed_collector.store.client import Store
from wattshed_collector.store.disk import BALLAST, DiskWatch, Growth, room
from wattshed_collector.store.migrate import Layout
from wattshed_collector.store.retention import drop_oldest
from wattshed_collector.store.write import Writer
from wattshed_exporter.model import Batch, Method, Tick

MIB = 2**20
DAY_MS = 86_400_000


class Disk:
    """A file system of which a test says what is free beside the ballast."""

    def __init__(self) -> None:
        self.others_free = 1000 * MIB
        self.now = 0.0

    def room(self, folder: Path) -> tuple[int, int]:
        with suppress(OSError):
            return self.others_free - (folder / BALLAST).stat().st_size, 2000 * MIB
        return self.others_free, 2000 * MIB

    def clock(self) -> float:
        return self.now


class TestDecisions:
    def watch(self, folder: Path, disk: Disk) -> DiskWatch:
        return DiskWatch(folder, 100 * MIB, 4 * MIB, room=disk.room, clock=disk.clock)

    def test_below_the_limit_nothing_is_taken_until_there_is_room_to_spare(
        self, tmp_path: Path
    ) -> None:
        disk = Disk()
        watch = self.watch(tmp_path, disk)
        assert watch.refusal() is None
        for free, refused in ((104, False), (103, True), (126, True), (129, False), (105, False)):
            disk.others_free = free * MIB
            assert watch.look().is_full is refused
            assert (watch.refusal() is not None) is refused
        disk.others_free = 90 * MIB
        watch.look()
        told = watch.refusal()
        assert told is not None
        assert (told.reason, told.retry_after_seconds) == ("disk_full", 30.0)
        assert str(told) == "the disk is full: 86 MiB are free, 100 MiB must stay so"

    def test_the_ballast_is_given_up_last_and_laid_again_first(self, tmp_path: Path) -> None:
        disk = Disk()
        watch = self.watch(tmp_path, disk)
        ballast = tmp_path / BALLAST
        assert ballast.stat().st_size == 4 * MIB
        for free, there in ((50, True), (17, True), (16, False), (100, False), (126, False)):
            disk.others_free = free * MIB
            assert watch.look().has_ballast is there
            assert watch.refusal() is not None
        disk.others_free = 129 * MIB
        level = watch.look()
        assert (level.has_ballast, level.is_full) == (True, False)
        assert (level.free_bytes, level.room_bytes) == (125 * MIB, 129 * MIB)

    def test_a_disk_with_plenty_of_room_has_no_ballast(self, tmp_path: Path) -> None:
        disk = Disk()
        disk.others_free = 2**40
        assert not self.watch(tmp_path, disk).level.has_ballast

    def test_nor_is_one_laid_that_would_have_input_refused(self, tmp_path: Path) -> None:
        disk = Disk()
        disk.others_free = 102 * MIB
        level = self.watch(tmp_path, disk).level
        assert (level.free_bytes, level.has_ballast, level.is_full) == (102 * MIB, False, False)

    def test_old_days_go_only_while_it_is_full(self, tmp_path: Path) -> None:
        disk, dropped = Disk(), list[int]()

        def drop() -> str:
            dropped.append(disk.others_free)
            disk.others_free += 20 * MIB
            return "20260101 of tick"

        watch = self.watch(tmp_path, disk)
        watch.drops_by(drop)
        watch.look()
        assert dropped == []
        disk.others_free = 90 * MIB
        for _ in range(4):
            watch.look()
        assert dropped == [90 * MIB, 110 * MIB]
        assert watch.refusal() is None

    def test_it_lives_on_where_nothing_can_be_dropped(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def drop() -> str:
            raise Retryable("the engine is busy")

        disk = Disk()
        watch = self.watch(tmp_path, disk)
        watch.drops_by(drop)
        disk.others_free = 50 * MIB
        assert watch.look().is_full
        assert "nothing could be dropped: the engine is busy" in caplog.text

    def test_it_warns_once(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        disk = Disk()
        watch = self.watch(tmp_path, disk)
        disk.others_free = 150 * MIB
        for _ in range(3):
            watch.look()
        assert [r.getMessage() for r in caplog.records] == [f"{tmp_path} has 146 MiB left"]


class TestGrowth:
    def test_days_left_by_the_last_day(self) -> None:
        growth, free = Growth(), 1000 * MIB
        for minute in range(0, 3 * 1440, 5):
            growth.saw(minute * 60.0, free)
            free -= MIB if minute >= 1440 else 0
        assert growth.days_left(3 * 86_400.0, free) == pytest.approx(free / (288 * MIB), rel=0.02)

    def test_unknown_for_an_hour_and_infinite_without_growth(self) -> None:
        growth = Growth()
        growth.saw(0.0, 100)
        assert math.isnan(growth.days_left(3599.0, 50))
        assert growth.days_left(3600.0, 100) == math.inf
        assert growth.days_left(3600.0, 50) == pytest.approx(1 / 24)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 MiB, or skip where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"mount cannot be run: {error}")
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(file: Path, leave: int) -> None:
    """Write until only so many bytes are free, or none."""
    with file.open("ab", buffering=0) as stream:
        while (free := room(file.parent)[0]) > leave:
            try:
                stream.write(bytes(min(free - leave, MIB)))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return


def test_a_real_disk_is_filled_and_freed(small_disk: Path, stores: Stores) -> None:
    """What was acknowledged is there; what was refused can be sent again and is there as well."""
    watch = DiskWatch(small_disk, 64 * MIB, 32 * MIB)
    stores.prepare(small_disk, Layout(raw_days=0, minute_days=0))
    store = Store(small_disk)
    client = store.client()
    writer = Writer(store.client, window_seconds=0.0, budget=Budget(MIB * 64, closed=watch.refusal))
    today = int(time.time() * 1000)
    acknowledged = set[int]()

    def send(at: int) -> None:
        writer.submit(Batch(ticks=(Tick("d", at, 1000, Method.COUNTER, 1.0),))).result(120)
        acknowledged.add(at)

    def stored() -> set[int]:
        rows = client.rows("SELECT toUnixTimestamp64Milli(ts) FROM tick FINAL")
        return {int(at) for (at,) in rows}

    filler = small_disk / "filler"
    try:
        for n in range(5):
            send(today + n)
        send(old := today - 9 * DAY_MS)
        assert watch.look().has_ballast

        fill(filler, 40 * MIB)
        watch.look()
        with pytest.raises(Retryable, match="the disk is full") as told:
            send(today + 10)
        assert told.value.reason == "disk_full"
        assert stored() == acknowledged

        fill(filler, 0)
        with pytest.raises(Retryable, match=r"Cannot reserve|No space left"):
            drop_oldest(client, 2, time.time())
        assert not watch.look().has_ballast
        assert watch.refusal() is not None
        assert drop_oldest(client, 2, time.time()).endswith("of tick")
        assert drop_oldest(client, 2, time.time()) == ""
        assert stored() == acknowledged - {old}

        os.truncate(filler, 0)
        level = watch.look()
        assert (level.has_ballast, level.is_full) == (True, False)
        send(today + 10)
        assert stored() == acknowledged - {old}
    finally:
        writer.close()
        client.close()
        store.close()
