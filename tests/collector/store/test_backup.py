"""A store in a folder and back: the same rows, the same ledger, and no half of either."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.fixtures.stores import Stores

from wattshed_collector.errors import InvalidInput, StoreError, StoreLocked
from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store import backup
from wattshed_collector.store.client import Store
from wattshed_collector.store.migrate import Layout, migrate, migrations
from wattshed_collector.store.write import Writer
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick

BASE = 1_768_471_200_000
HOUR = 3_600_000
ENERGY = f"""
SELECT intDiv(toUnixTimestamp(t) - {BASE // 1000}, 3600) AS hour, device, workload_key, class,
       joules
FROM v_energy_1h ORDER BY ALL
"""
TICKS = "SELECT * EXCEPT ingested_at FROM tick FINAL ORDER BY ts"


def facts(first: int, count: int) -> Batch:
    ticks = tuple(
        Tick("d", BASE + n * 600_000, 600_000, Method.COUNTER, None, n * 10**8)
        for n in range(first, first + count)
    )
    held = Allocation("d", "w", BASE, BASE + (first + count) * 600_000)
    return Batch(devices=(Device("d", Kind.GPU, "n", "s"),), ticks=ticks, allocations=(held,))


def write(store: Store, batch: Batch) -> None:
    writer = Writer(store.client, window_seconds=0.0)
    writer.submit(batch).result(120)
    writer.close()


class Backups:
    """A store that was backed up whole, and once more, on that, in the middle of a write."""

    def __init__(self, root: Path, stores: Stores) -> None:
        self.root = root
        self.full, self.next = root / "full", root / "next"
        self.root.mkdir()
        stores.prepare(root.parent / "data", Layout(raw_days=0, minute_days=0))
        store = Store(root.parent / "data", backup_folder=root)
        client = store.client()
        write(store, facts(0, 7))
        Ledger(client, Policy(raw_days=0)).run()
        self.made = backup.make(client, self.full)
        write(store, facts(7, 12))
        # As where these tables were copied before the write, and its facts after it.
        for table in ("dirty", "tick_hour", "tick_day", "allocation_hour"):
            client.command(f"TRUNCATE TABLE {table}")
        self.on_full = backup.make(client, self.next, self.full)
        self.ticks = client.rows(TICKS)
        self.refused: dict[str, str] = {}
        for name, folder, base in (
            ("not empty", self.full, None),
            ("on an incremental one", root / "other", self.next),
            ("on none", root / "other", root),
            ("elsewhere", root.parent / "elsewhere", None),
        ):
            try:
                backup.make(client, folder, base)
            except (InvalidInput, StoreError) as error:
                self.refused[name] = f"{type(error).__name__}: {error}"
        client.close()
        store.close()


@pytest.fixture(scope="module")
def backups(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Backups:
    return Backups(tmp_path_factory.mktemp("backup") / "root", stores)


def test_it_says_what_it_holds(backups: Backups) -> None:
    said = json.loads((backups.full / backup.MANIFEST).read_text())
    assert said["tables"]["tick"] == 7
    assert said["tables"]["migration"] == len(migrations())
    summary = backups.made.summary()
    assert summary["rows"] == sum(said["tables"].values())
    assert summary["base"] is None
    assert backup.read(backups.full) == backups.made


def test_one_on_a_full_one_holds_only_what_is_new(backups: Backups) -> None:
    assert backups.on_full.base == str(backups.full)
    assert backups.on_full.tables["tick"] == 19
    assert backups.on_full.summary()["bytes"] < backups.made.summary()["bytes"]


def test_what_cannot_be_is_refused_and_leaves_nothing(backups: Backups) -> None:
    told = backups.refused
    assert "is not empty: name a new folder" in told["not empty"]
    assert "needs another backup itself: name a full one" in told["on an incremental one"]
    assert "is no complete backup" in told["on none"]
    assert "elsewhere" in told["elsewhere"]
    assert sorted(p.name for p in backups.root.iterdir()) == ["full", "next"]
    assert not (backups.root.parent / "elsewhere").exists()


def test_the_same_rows_and_joules_come_back_and_nothing_is_left_out(
    backups: Backups, tmp_path: Path
) -> None:
    """Both folders were moved since."""
    moved = tmp_path / "moved"
    shutil.copytree(backups.root, moved)
    shutil.move(backups.full, tmp_path / "away")
    seen: list[tuple[int, int]] = []
    try:
        backup.restore(moved / "next", tmp_path / "data", lambda *done: seen.append(done))
    finally:
        shutil.move(tmp_path / "away", backups.full)
    assert seen[-1][0] == seen[-1][1] > 0
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["chdb", "lock"]
    store = Store(tmp_path / "data")
    client = store.client()
    try:
        assert migrate(client, Layout()) == []
        Ledger(client, Policy(raw_days=0)).run()
        assert client.rows(TICKS) == backups.ticks
        assert client.rows(ENERGY) == [(hour, "d", "w", "active", 600.0) for hour in range(3)]
    finally:
        client.close()
        store.close()


class TestRefusals:
    def test_a_folder_that_has_a_store(self, backups: Backups, tmp_path: Path) -> None:
        (tmp_path / "chdb").mkdir()
        with pytest.raises(InvalidInput, match="has a store already"):
            backup.restore(backups.full, tmp_path)

    def test_a_folder_on_which_a_collector_runs(self, backups: Backups, tmp_path: Path) -> None:
        store = Store(tmp_path)
        with pytest.raises(StoreLocked, match="in use by another wattshed"):
            backup.restore(backups.full, tmp_path)
        store.close()

    def test_one_that_is_not_whole(self, tmp_path: Path, backups: Backups) -> None:
        copy = shutil.copytree(backups.full, tmp_path / "copy")
        (copy / backup.MANIFEST).unlink()
        with pytest.raises(InvalidInput, match="is no complete backup"):
            backup.restore(copy, tmp_path / "data")

    def test_one_whose_base_is_gone(self, tmp_path: Path, backups: Backups) -> None:
        copy = shutil.copytree(backups.next, tmp_path / "copy")
        made = json.loads((copy / backup.MANIFEST).read_text())
        (copy / backup.MANIFEST).write_text(json.dumps({**made, "base": "/nowhere/full"}))
        with pytest.raises(InvalidInput, match="needs the backup /nowhere/full"):
            backup.restore(copy, tmp_path / "data")

    @pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
    def test_one_that_is_damaged(self, tmp_path: Path, backups: Backups, damage: str) -> None:
        copy = shutil.copytree(backups.full, tmp_path / "copy")
        file = max(copy.glob("data/default/tick/*/*"), key=lambda path: path.stat().st_size)
        data = bytearray(file.read_bytes())
        if damage == "gone":
            file.unlink()
        else:
            data[len(data) // 2] ^= 1
            file.write_bytes(data if damage == "flip" else data[:-1])
        with pytest.raises(InvalidInput, match=r"is damaged|No such file"):
            backup.restore(copy, tmp_path / "data")
        assert not (tmp_path / "data").exists()
