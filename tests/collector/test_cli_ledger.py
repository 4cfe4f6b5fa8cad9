"""``wattshed ledger``: asked of a running collector, or of the store where none runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.fixtures.stores import Stores

from wattshed_collector.cli import main
from wattshed_collector.config import Config, Ledger, Retention
from wattshed_collector.store.client import Store
from wattshed_collector.store.migrate import Layout
from wattshed_collector.store.write import Writer
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick, Workload

if TYPE_CHECKING:
    from tests.collector.conftest import Running

HOUR = 3600
BASE = 1_768_471_200  # 2026-01-15T10:00:00Z
WINDOW = ("--from", "2026-01-15T10:00Z", "--to", "2026-01-15T12:00Z")
Collect = Callable[[Config], AbstractContextManager["Running"]]


def facts() -> Batch:
    ticks = tuple(
        Tick("d", (BASE + n * 600) * 1000, 1000, Method.COUNTER, None, n * 10**8, None, 0.1)
        for n in range(12)
    )
    held = Allocation("d", "w", BASE * 1000, (BASE + 2 * HOUR) * 1000)
    return Batch(
        devices=(Device("d", Kind.GPU, "n", "test"),),
        ticks=ticks,
        workloads=(Workload("w", "train", team="vision"),),
        allocations=(held,),
    )


@pytest.fixture(scope="module")
def folder(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two hours of readings that are kept for ever."""
    folder = tmp_path_factory.mktemp("ledger") / "data"
    stores.prepare(folder, Layout(raw_days=0, minute_days=0))
    store = Store(folder)
    writer = Writer(store.client, window_seconds=0.0)
    writer.submit(facts()).result(120)
    writer.close()
    store.close()
    return folder


def config(folder: Path) -> Config:
    return Config(
        listen="127.0.0.1:0",
        data=str(folder),
        retention=Retention(raw_days=0, minute_days=0),
        ledger=Ledger(interval_seconds=0.2),
    )


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def changes(text: str) -> dict[str, float]:
    document: dict[str, Any] = json.loads(text)
    return {c["charge_class"]: c["change_joules"] for c in document["changes"]}


def recompute_twice(capsys: pytest.CaptureFixture[str], folder: Path, below: str) -> None:
    """A dry run, the run, and a dry run that finds nothing left to change."""
    command = ("ledger", "recompute", *WINDOW, "--idle-below", below, "--data", str(folder))
    code, out, _ = told(capsys, *command, "--dry-run", "--json")
    assert code == 0
    first = changes(out)
    assert abs(first["idle_held"]) > 1000
    assert first["active"] == pytest.approx(-first["idle_held"])
    code, out, err = told(capsys, *command, "--json")
    assert (code, err) == (0, "computed 2 hours again\n")
    assert (changes(out), json.loads(out)["written"]) == (first, True)
    code, out, _ = told(capsys, *command, "--dry-run")
    assert (code, out.splitlines()[-1]) == (0, "nothing changes")


def test_in_the_store_where_no_collector_runs(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert told(capsys, "energy", "--json", "--data", str(folder))[0] == 0
    recompute_twice(capsys, folder, "0.2")
    code, out, _ = told(capsys, "ledger", "status", "--json", "--data", str(folder))
    state = json.loads(out)
    assert (code, state["leader"], state["leads"]) == (0, None, False)
    assert [policy["idle_below_e4"] for policy in state["policies"]] == [500, 2000, 500]
    for arguments, sentence in WRONG:
        code, out, err = told(capsys, "ledger", "recompute", *arguments, "--data", str(folder))
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert sentence in err


WRONG = (
    (("--from", "yesterday"), "'yesterday' is not a time"),
    (("--from", "1h", "--idle-below", "7"), "idle_below: 7.0 is not between 0 and 1"),
)
REFUSED = (
    (b"{", "the body is not JSON"),
    (b"[" * 100_000, "the body is not JSON"),
    (b"[]", "the body is not a JSON object"),
    (b'{"from": "yesterday"}', "'yesterday' is not a time"),
    (b'{"from": "1h", "policy": "mine"}', "policy: 'mine' is none of"),
)


def test_of_a_running_collector(
    capsys: pytest.CaptureFixture[str], folder: Path, collect: Collect
) -> None:
    with collect(config(folder)) as collector:
        deadline = time.monotonic() + 120
        while not collector.get("/v1/ledger").json["watermark"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        recompute_twice(capsys, folder, "0.05")
        code, out, _ = told(capsys, "ledger", "status", "--data", str(folder))
        assert code == 0
        shown = [line.split()[0] for line in out.splitlines()]
        assert shown[:4] == ["leader", "settled", "watermark", "dirty"]
        assert "holder, idle below 0.05, host remainder platform, since 2026-01-15" in out
        state: dict[str, Any] = collector.get("/v1/ledger").json
        assert (state["leads"], state["recomputing"]) == (True, None)
        assert state["last_run"]["result"] == "ok"
        assert state["settled"] == BASE + 11 * 600
        for body, sentence in REFUSED:
            answer = collector.send("/v1/ledger/recompute", body)
            assert answer.status == 400
            assert sentence in answer.json["error"]


def test_without_a_store_there_is_nothing_to_compute(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = told(capsys, "ledger", "status", "--data", str(tmp_path))
    assert code == 1
    assert err.startswith(f"wattshed: there is no data in {tmp_path}")
