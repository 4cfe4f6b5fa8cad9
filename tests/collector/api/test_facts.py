"""Questions about the tree of meters and their reconciliation, asked of a running collector."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.config import Config, Ledger
from wattshed_exporter.model import Batch, Device, Kind, Method, Overlap, Tick
from wattshed_exporter.outputs.protobuf import Encoder

if TYPE_CHECKING:
    from tests.collector.conftest import Running


def test_tree_and_reconciliation(
    tmp_path: Path, collect: Callable[[Config], AbstractContextManager[Running]]
) -> None:
    end_ms = int(time.time() * 1000) // 60_000 * 60_000 - 60_000
    devices = (
        Device("card", Kind.GPU, "n", "nvml"),
        Device("bmc", Kind.HOST, "n", "ipmi", overlap=Overlap.OUTER),
    )
    ticks = tuple(
        Tick(device, end_ms - m * 60_000, 60_000, Method.INTEGRAL, watts)
        for device, watts in (("card", 300.0), ("bmc", 500.0))
        for m in range(11)
    )
    config = Config(listen="127.0.0.1:0", data=str(tmp_path), ledger=Ledger(interval_seconds=0.2))
    with collect(config) as running:
        body = Encoder({}, "0").request(Batch(devices=devices, ticks=ticks))
        assert running.post(body).status == 200
        deadline = time.monotonic() + 120
        while not (rows := running.get("/v1/reconciliation?since=2h").json["rows"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        places = {row["device"]: row for row in running.get("/v1/tree").json["rows"]}
    assert (places["card"]["parent"], places["card"]["why"]) == ("bmc", "node")
    (row,) = rows
    assert row["device"] == "bmc"
    assert row["remainder_joules"] == pytest.approx(200 * 600.0, rel=1e-9)
    assert row["mismatched_hours"] == 0
    parts = row["inner_joules"] + row["remainder_joules"] + row["uncovered_joules"]
    assert parts == pytest.approx(row["outer_joules"], rel=1e-9)
