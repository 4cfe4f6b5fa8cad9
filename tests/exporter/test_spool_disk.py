"""The spool on disk: restarts, damage, full and read-only disks, two exporters, power cuts."""

from __future__ import annotations

import errno
import logging
import os
import random
import resource
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_exporter.errors import ConfigError
from wattshed_exporter.segments import HEADER
from wattshed_exporter.spool import Memory, Record
from wattshed_exporter.spool_disk import RETRY_SECONDS, SYNC_SECONDS, Disk

MIB = 1 << 20


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Device:
    """Stands in for a disk with so much room; what is written reaches the real one."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.error = errno.ENOSPC

    def __call__(self, file: int, data: bytes | memoryview, at: int) -> int:
        if not self.room:
            raise OSError(self.error, os.strerror(self.error))
        written = os.pwrite(file, data[: self.room], at)
        self.room -= written
        return written


class Bench:
    """Opens spools on one folder, as one exporter after the other would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.losses: list[tuple[str, int, int]] = []
        self.time = Time()
        self.open_ones: list[Disk] = []

    def lost(self, reason: str, bodies: int, ticks: int) -> None:
        self.losses.append((reason, bodies, ticks))

    def reasons(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for reason, bodies, _ in self.losses:
            found[reason] = found.get(reason, 0) + bodies
        return found

    def open(
        self,
        limit: int = MIB,
        memory: int = MIB,
        write: Callable[[int, bytes | memoryview, int], int] = os.pwrite,
    ) -> Disk:
        spool = Disk(
            self.folder,
            limit,
            Memory(memory, self.lost),
            self.lost,
            clock=self.time,
            write=write,
        )
        self.open_ones.append(spool)
        spool.open()
        return spool

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.spool"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "state" / "spool")
    yield made
    for spool in made.open_ones:
        spool.close()


def fill(spool: Disk, *numbers: int) -> None:
    for number in numbers:
        spool.put(b"body %d" % number, number, 1000 + number)


def drain(spool: Disk) -> list[Record]:
    found = []
    while record := spool.peek():
        found.append(record)
        assert spool.ack(record)
    return found


def numbers(found: list[Record]) -> list[int]:
    return [int(record.body.split()[1]) for record in found]


def test_the_same_bytes_come_back_after_a_restart(bench: Bench) -> None:
    spool = bench.open()
    fill(spool, 1, 2, 3)
    first = spool.peek()
    assert first is not None
    spool.ack(first)
    spool.close()
    again = bench.open()
    assert (again.level().bodies, again.level().ticks, again.level().oldest_ms) == (2, 5, 1002)
    fill(again, 4)
    assert numbers(drain(again)) == [2, 3, 4]
    assert len(bench.files()) == 1
    again.close()
    assert bench.files() == []
    assert bench.losses == []


def test_what_is_damaged_holds_up_nothing_behind_it(bench: Bench) -> None:
    spool = bench.open()
    fill(spool, 1, 2, 3, 4)
    (file,) = bench.files()
    data = bytearray(file.read_bytes())
    data[data.index(b"body 2")] ^= 0xFF
    file.write_bytes(data)
    assert numbers(list(spool.oldest(9, MIB))) == [1]
    first = spool.peek()
    assert first is not None
    assert spool.ack(first)
    assert numbers(list(spool.oldest(9, MIB))) == [3, 4]
    assert numbers(drain(spool)) == [3, 4]
    assert [reason for reason, *_ in bench.losses][:1] == ["corrupt"]


def test_an_idle_spool_takes_no_room(bench: Bench) -> None:
    spool = bench.open()
    for number in range(100):
        fill(spool, number)
        record = spool.peek(newest=True)
        assert record is not None
        assert spool.ack(record)
    assert [f.stat().st_size for f in bench.files()] == [0]
    assert spool.level().size_bytes == 0


def test_many_restarts_do_not_leave_many_files(bench: Bench) -> None:
    for number in range(20):
        spool = bench.open()
        fill(spool, number)
        spool.close()
    assert len(bench.files()) == 1
    assert numbers(drain(bench.open())) == list(range(20))


def test_only_one_body_is_read_at_a_time_whatever_the_size(bench: Bench) -> None:
    spool = bench.open(limit=64 * MIB)
    body = os.urandom(50_000)
    for number in range(400):
        spool.put(body, 1, number)
    assert len(bench.files()) >= 19
    assert max(f.stat().st_size for f in bench.files()) <= MIB
    spool.close()
    tracemalloc.start()
    again = bench.open(limit=64 * MIB)
    assert again.level().bodies == 400
    came = 0
    while record := again.peek():
        came += record.body == body
        again.ack(record)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert came == 400
    assert peak < 4 * MIB


def test_a_second_exporter_is_refused(bench: Bench) -> None:
    first = bench.open()
    fill(first, 1)
    with pytest.raises(ConfigError, match="is used by another exporter"):
        bench.open()
    first.close()
    assert numbers(drain(bench.open())) == [1]


def test_what_was_being_written_is_cut_off_and_counted(bench: Bench) -> None:
    spool = bench.open()
    fill(spool, 1, 2)
    spool.close()
    (file,) = bench.files()
    file.write_bytes(file.read_bytes()[:-3])
    again = bench.open()
    assert bench.reasons() == {"torn": 1}
    fill(again, 3)
    assert numbers(drain(again)) == [1, 3]
    assert bench.reasons() == {"torn": 1}


def test_damage_before_the_start_is_counted_and_passed_by(bench: Bench) -> None:
    spool = bench.open()
    fill(spool, 1, 2, 3)
    spool.close()
    (file,) = bench.files()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    again = bench.open()
    assert bench.reasons() == {"corrupt": 1}
    assert numbers(drain(again)) == [1, 3]


def test_damage_while_it_runs_is_counted_and_passed_by(bench: Bench) -> None:
    spool = bench.open()
    fill(spool, 1, 2, 3)
    (file,) = bench.files()
    size = file.stat().st_size // 3
    with file.open("r+b") as writer:
        writer.seek(size + HEADER.size)
        writer.write(b"\0")
    assert numbers(drain(spool)) == [1, 3]
    assert bench.losses == [("corrupt", 1, 0), ("corrupt", 0, 2)]
    assert (spool.level().bodies, spool.level().ticks) == (0, 0)
    fill(spool, 4)
    assert numbers(drain(spool)) == [4]


def test_a_file_that_is_gone_costs_only_itself(bench: Bench) -> None:
    spool = bench.open()
    for number in range(30):
        spool.put(bytes(5000) + b" %d" % number, 1, number)
    gone = bench.files()[1]
    gone.unlink()
    left = numbers(drain(spool))
    missing = sorted(set(range(30)) - set(left))
    assert left == sorted(left)
    assert 0 < len(missing) < 10
    assert bench.losses == [("unreadable", 1, len(missing))]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_damage_to_the_files(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    bench = Bench(tmp_path_factory.mktemp("spool"))
    spool = bench.open()
    dice = random.Random(data.draw(st.integers(0, 1000)))
    bodies = [b"body %d " % n + dice.randbytes(dice.randrange(6000)) for n in range(20)]
    for body in bodies:
        spool.put(body, 1, 1)
    spool.close()
    for file in bench.files():
        content = bytearray(file.read_bytes())
        match data.draw(st.sampled_from(["whole", "cut", "noise", "zeros", "empty"])):
            case "cut":
                del content[data.draw(st.integers(0, len(content))) :]
            case "noise":
                at = data.draw(st.integers(0, len(content) - 1))
                content[at : at + 20] = dice.randbytes(20)
            case "zeros":
                content[data.draw(st.integers(0, len(content) - 1)) :] = bytes(100)
            case "empty":
                content.clear()
            case _:
                pass
        file.write_bytes(content)
    again = bench.open()
    waiting = again.level().bodies
    assert again.level().ticks == waiting
    came = [record.body for record in drain(again)]
    assert len(came) == waiting
    assert set(came) <= set(bodies)
    assert came == [body for body in bodies if body in set(came)]
    again.put(b"after", 1, 1)
    assert [record.body for record in drain(again)] == [b"after"]
    again.close()
    assert bench.files() == []


def test_a_full_disk_degrades_to_memory_and_comes_back(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    device = Device(room=70)
    spool = bench.open(write=device)
    fill(spool, 1, 2, 3, 4)
    assert spool.level().bodies == 4
    assert not spool.level().on_disk
    (file,) = bench.files()
    assert file.stat().st_size < 70, "half a record must not stay"
    device.room = MIB
    assert spool.sync() == pytest.approx(SYNC_SECONDS)
    assert spool.level().on_disk
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]
    spool.close()
    assert numbers(drain(bench.open())) == [1, 2, 3, 4]
    assert bench.losses == []


def test_memory_is_bounded_while_the_disk_is_full(bench: Bench) -> None:
    spool = bench.open(memory=10_000, write=Device(room=0))
    for number in range(20):
        spool.put(bytes(1000) + b" %d" % number, 5, number)
    assert bench.reasons() == {"memory_full": 11}
    assert sum(ticks for _, _, ticks in bench.losses) == 55
    assert numbers(drain(spool)) == list(range(11, 20))


def test_what_is_only_in_memory_at_the_end_is_counted(bench: Bench) -> None:
    spool = bench.open(write=Device(room=0))
    fill(spool, 1, 2)
    spool.close()
    assert bench.losses == [("closed", 2, 3)]


def test_a_mark_that_could_not_be_made_does_not_hide_what_comes_after(
    bench: Bench,
) -> None:
    spool = bench.open()
    fill(spool, 1, 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    first = spool.peek()
    assert first is not None
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # no file can be opened to be marked
    try:
        assert spool.ack(first)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert numbers(drain(spool)) == [2]
    fill(spool, 3, 4)
    assert numbers(drain(spool)) == [3, 4]
    assert bench.losses == []


def test_a_folder_that_cannot_be_made_is_tried_again(bench: Bench) -> None:
    bench.folder.parent.parent.mkdir(exist_ok=True)
    bench.folder.parent.write_text("a file is in the way")
    spool = bench.open()
    fill(spool, 1)
    assert not spool.level().on_disk
    assert numbers([r for r in [spool.peek()] if r]) == [1]
    assert spool.sync() == RETRY_SECONDS
    bench.folder.parent.unlink()
    bench.time.now += RETRY_SECONDS
    fill(spool, 2)
    assert spool.level().on_disk
    spool.close()
    assert numbers(drain(bench.open())) == [1, 2]
    assert bench.losses == []


def test_the_newest_comes_from_memory_while_the_disk_is_full(bench: Bench) -> None:
    device = Device(room=MIB)
    spool = bench.open(write=device)
    fill(spool, 1)
    device.room = 0
    fill(spool, 2)
    newest = spool.peek(newest=True)
    assert newest is not None
    assert numbers([newest]) == [2]
    assert spool.ack(newest)
    assert numbers(drain(spool)) == [1]


def test_files_are_synced_once_a_second_and_only_while_something_waits(bench: Bench) -> None:
    spool = bench.open()
    assert spool.sync() is None
    fill(spool, 1)
    assert spool.sync() == pytest.approx(SYNC_SECONDS)
    bench.time.now += 0.4
    fill(spool, 2)
    assert spool.sync() == pytest.approx(0.6)
    bench.time.now += 0.6
    assert spool.sync() is None
    fill(spool, 3)
    assert spool.sync() == pytest.approx(SYNC_SECONDS)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root may mount a small file system")
    command = [mount, "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(tiny_disk: Path) -> None:
    bench = Bench(tiny_disk / "spool")
    spool = bench.open(limit=64 * MIB, memory=MIB)
    bodies = [b"%d " % n + os.urandom(20_000) for n in range(30)]
    for body in bodies:
        spool.put(body, 1, 1)
    assert not spool.level().on_disk
    assert spool.level().bodies == 30
    came = []
    while record := spool.peek():
        came.append(record.body)
        spool.ack(record)
        spool.sync()
    assert came == bodies
    assert spool.level().on_disk, "there is room again"
    spool.put(bodies[0], 1, 1)
    spool.close()
    again = bench.open()
    assert [r.body for r in drain(again)] == bodies[:1]
    again.close()
    assert bench.losses == []


def test_a_disk_that_becomes_read_only(tiny_disk: Path) -> None:
    bench = Bench(tiny_disk / "spool")
    spool = bench.open()
    fill(spool, 1, 2, 3)
    newest = spool.peek(newest=True)
    remount = ["mount", "-o", "remount,ro", str(tiny_disk)]
    blocked = subprocess.run(remount, capture_output=True, check=False).returncode
    if blocked:  # files that are open for writing keep a file system writable
        spool.close()
        subprocess.run(remount, check=True)
        spool = bench.open()
        newest = spool.peek(newest=True)
    fill(spool, 4)
    assert not spool.level().on_disk
    if newest is not None:
        assert spool.ack(newest)
    found = numbers(drain(spool))
    assert found == ([1, 2, 4] if newest is not None else [1, 2, 3, 4])
    subprocess.run(["mount", "-o", "remount,rw", str(tiny_disk)], check=True)
    fill(spool, 5)
    assert spool.level().on_disk
    spool.close()
    assert bench.losses == []


PUTTER = """
import os, random, sys
from pathlib import Path
from wattshed_exporter.spool import Memory
from wattshed_exporter.spool_disk import Disk

def lost(*told):
    os.write(1, b"lost %s\\n" % repr(told).encode())

dice = random.Random(int(sys.argv[3]))
spool = Disk(Path(sys.argv[1]), 1 << 26, Memory(1 << 20, lost), lost)
spool.open()
number = int(sys.argv[2])
while True:
    number += 1
    spool.put(b"%d " % number + dice.randbytes(dice.randrange(3000)), 1, number)
    os.write(1, b"put %d\\n" % number)
    if dice.random() < 0.4:
        record = spool.peek(newest=dice.random() < 0.5)
        if record is not None:
            os.write(1, b"ack %s\\n" % record.body.split()[0])
            spool.ack(record)
    spool.sync()
"""


@pytest.mark.e2e
def test_kill_at_any_point_loses_nothing_that_was_put(tmp_path: Path) -> None:
    dice, rounds = random.Random(3), 20
    put: set[int] = set()
    acknowledged: set[int] = set()
    torn = 0
    for number in range(rounds):
        command = [sys.executable, "-c", PUTTER, str(tmp_path / "s"), str(max(put, default=0) + 1)]
        child = subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(1 + dice.randrange(400))]
        child.kill()
        said += child.stdout.read().splitlines()
        child.stdout.close()
        child.wait()
        for line in said:
            word, _, rest = line.decode().strip().partition(" ")
            if word == "put":
                put.add(int(rest))
            elif word == "ack":
                acknowledged.add(int(rest))
            elif word == "lost":
                assert "torn" in rest, "only what was never put may be damaged"
                torn += 1
    bench = Bench(tmp_path / "s")
    spool = bench.open(limit=64 * MIB)
    left = [int(record.body.split()[0]) for record in drain(spool)]
    spool.close()
    print(f"rounds {rounds}, put {len(put)}, acknowledged {len(acknowledged)}, torn {torn}")
    assert len(put) > 20 * rounds
    assert put - acknowledged <= set(left)
    assert len(left) == len(set(left))
    assert left == sorted(left)
    # A kill between announcing an acknowledgement and marking it leaves at most one per round.
    assert len(set(left) & acknowledged) <= rounds
