"""The collector's spool: what it took survives cuts, damage, full disks and failed syncs."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_collector.errors import StoreError, StoreLocked
from wattshed_collector.store.insert import Insert
from wattshed_collector.store.spool import SEGMENT_BYTES, Kept, Spool, SpoolFull, pack, unpack

MIB = 2**20


def group(number: int, size: int = 20) -> tuple[Insert, ...]:
    body = f"{number:08d}".encode().ljust(size, b".")
    return Insert("dirty", ("hour",), 1, b"h"), Insert("tick", ("ts", "device_id"), 2, body)


def numbers(kept: list[Kept]) -> list[int]:
    return [int(k.inserts[1].body[:8]) for k in kept]


def drain(spool: Spool) -> list[int]:
    found = []
    while kept := spool.peek(MIB):
        found += numbers(kept)
        spool.ack(kept)
    return found


class Disk:
    """Stands in for a disk: has so much room left, and may fail to sync."""

    def __init__(self) -> None:
        self.room = 1 << 40
        self.fails = False
        self.synced = 0

    def write(self, file: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(file, data[: self.room])
        self.room -= written
        return written

    def sync(self, file: int) -> None:
        if self.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.synced += 1
        os.fsync(file)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[list[Spool]]:
    made: list[Spool] = []
    yield made
    for spool in made:
        spool.close()


@given(
    st.lists(
        st.tuples(st.text(max_size=9), st.lists(st.text(max_size=9)), st.integers(0, 9),
                  st.binary(max_size=99))
    )
)  # fmt: skip
def test_a_group_comes_back_as_it_was(told: list[tuple[str, list[str], int, bytes]]) -> None:
    inserts = tuple(Insert(table, tuple(c), rows, body) for table, c, rows, body in told)
    assert unpack(pack(inserts)) == inserts


def test_what_is_not_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MIB, now=lambda: 5.0)
    for number in range(5):
        spool.append(group(number))
    first = spool.peek(1)
    assert numbers(first) == [0]
    spool.ack(first)
    spool.close()
    again = Spool(tmp_path, MIB)
    level = again.level()
    assert (level.groups, level.rows, level.oldest, level.damaged) == (4, 12, 5.0, 0)
    again.append(group(5))
    assert drain(again) == [1, 2, 3, 4, 5]
    assert (again.empty, again.level().size_bytes) == (True, 0)
    assert not list(tmp_path.glob("*.spool"))
    again.close()


def test_each_group_is_synced_before_it_counts(tmp_path: Path, opened: list[Spool]) -> None:
    disk = Disk()
    spool = Spool(tmp_path, MIB, write=disk.write, sync=disk.sync)
    opened.append(spool)
    spool.append(group(0))
    assert disk.synced == 2  # the file, and the folder that it is new in
    spool.append(group(1))
    assert disk.synced == 3
    spool.ack(spool.peek(MIB))
    assert disk.synced == 4  # the folder, so that a power cut does not bring the file back


def test_it_is_read_in_portions_and_in_order_over_many_files(
    tmp_path: Path, opened: list[Spool]
) -> None:
    spool = Spool(tmp_path, 100 * MIB)
    opened.append(spool)
    for number in range(10):
        spool.append(group(number, SEGMENT_BYTES // 4))
    assert len(list(tmp_path.glob("*.spool"))) == 4
    assert numbers(spool.peek(10 * MIB)) == [0, 1]
    assert numbers(spool.peek(1)) == [0]
    assert drain(spool) == list(range(10))


def test_a_full_spool_takes_nothing_and_goes_on_once_there_is_room(
    tmp_path: Path, opened: list[Spool]
) -> None:
    spool = Spool(tmp_path, 2000)
    opened.append(spool)
    spool.append(group(0))
    taken = 2000 // spool.level().size_bytes
    for number in range(1, taken):
        spool.append(group(number))
    with pytest.raises(SpoolFull, match=r"its spool is full \(\d+ of 2000 bytes\)") as told:
        spool.append(group(taken))
    assert (told.value.reason, told.value.retry_after_seconds) == ("spool_full", 30.0)
    assert spool.level().size_bytes <= 2000
    assert drain(spool) == list(range(taken))
    spool.append(group(7))
    assert drain(spool) == [7]


@pytest.mark.parametrize("room", [0, 10, 150])
def test_a_full_disk_keeps_what_was_safe(tmp_path: Path, room: int) -> None:
    disk = Disk()
    spool = Spool(tmp_path, MIB, write=disk.write, sync=disk.sync)
    spool.append(group(1))
    disk.room = room
    with pytest.raises(SpoolFull, match="No space left on device"):
        spool.append(group(2, 500))
    disk.room = MIB
    spool.append(group(3))
    spool.close()
    again = Spool(tmp_path, MIB)
    assert drain(again) == [1, 3]
    assert again.level().damaged == 0
    again.close()


def test_a_failed_sync_is_no_promise(tmp_path: Path) -> None:
    disk = Disk()
    spool = Spool(tmp_path, MIB, write=disk.write, sync=disk.sync)
    spool.append(group(1))
    disk.fails = True
    with pytest.raises(SpoolFull, match="Input/output error"):
        spool.append(group(2))
    disk.fails = False
    spool.append(group(3))
    assert spool.level().groups == 2
    spool.close()
    again = Spool(tmp_path, MIB)
    assert drain(again) == [1, 3]
    again.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A folder to work in, and the file of five groups."""
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, MIB)
    for number in range(5):
        spool.append(group(number))
    spool.close()
    (file,) = folder.glob("*.spool")
    return file, file.read_bytes()


@settings(max_examples=60)
@given(st.data())
def test_a_torn_write_takes_nothing_with_it(
    written: tuple[Path, bytes], data: st.DataObject
) -> None:
    """kill -9 or a power cut while the next group is being written."""
    file, whole = written
    cut = data.draw(st.integers(0, len(whole)))
    file.write_bytes(whole[:cut])
    spool = Spool(file.parent, MIB)
    sound = cut * 5 // len(whole)
    spool.append(group(9))
    found, level = drain(spool), spool.level()
    spool.close()
    assert found == [*range(sound), 9]
    assert level.damaged == 0


@settings(max_examples=60)
@given(st.data())
def test_damage_costs_only_what_it_hits(written: tuple[Path, bytes], data: st.DataObject) -> None:
    file, whole = written
    at = data.draw(st.integers(0, len(whole) * 4 // 5 - 1))
    size = len(whole) // 5
    damaged = bytearray(whole)
    # The mark that says whether it was sent is the one place that may read either way.
    damaged[at] ^= data.draw(st.integers(1, 255))
    file.write_bytes(damaged)
    spool = Spool(file.parent, MIB)
    found, level = drain(spool), spool.level()
    spool.close()
    in_mark = 4 <= at % size < 8
    assert found == [n for n in range(5) if n != at // size or in_mark]
    assert level.damaged == (not in_mark)


def test_damage_while_it_runs_is_passed_by(tmp_path: Path, opened: list[Spool]) -> None:
    spool = Spool(tmp_path, MIB)
    opened.append(spool)
    for number in range(4):
        spool.append(group(number))
    (file,) = tmp_path.glob("*.spool")
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 4 + 40] ^= 1
    file.write_bytes(whole)
    assert drain(spool) == [0, 2, 3]
    assert (spool.level().damaged, spool.empty) == (1, True)


def test_two_collectors_cannot_share_it(tmp_path: Path, opened: list[Spool]) -> None:
    opened.append(Spool(tmp_path, MIB))
    with pytest.raises(StoreLocked, match="in use by another collector"):
        Spool(tmp_path, MIB)


def test_a_folder_that_cannot_be_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot use the spool .*file/spool: Not a directory"):
        Spool(tmp_path / "file" / "spool", MIB)


def test_what_is_set_aside_is_kept_with_its_reason(tmp_path: Path, opened: list[Spool]) -> None:
    spool = Spool(tmp_path, MIB)
    opened.append(spool)
    spool.append(group(1))
    (kept,) = spool.peek(1)
    for _ in range(2):  # as after a crash between this and the acknowledgement
        spool.set_aside(kept, 1, "no such column")
    spool.ack([kept])
    (aside,) = spool.aside()
    assert (aside.insert, aside.reason) == (group(1)[1], "no such column")
    assert (spool.empty, spool.level().aside) == (True, 1)
    aside.path.with_suffix(".native").write_bytes(b"other")
    assert list(spool.aside()) == []
    spool.forget_aside(aside)
    assert spool.level().aside == 0
