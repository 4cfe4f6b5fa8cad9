"""``wattshed backup`` beside a running collector, and ``wattshed restore``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from wattshed_collector.api.backup import BackupApi
from wattshed_collector.api.routes import errors
from wattshed_collector.cli import main
from wattshed_collector.config import Config, Durability
from wattshed_collector.errors import Retryable
from wattshed_collector.ledger import Policy
from wattshed_collector.ledger_job import LedgerJob
from wattshed_collector.store.shards import Shards
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick
from wattshed_exporter.outputs.protobuf import Encoder

if TYPE_CHECKING:
    from tests.collector.conftest import Running

Collect = Callable[[Config], AbstractContextManager["Running"]]


def run(*argv: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(argv)
    return int(str(left.value.code))


def body(count: int) -> bytes:
    now = int(time.time() * 1000)
    ticks = tuple(Tick("d", now - n * 1000, 1000, Method.COUNTER, 5.0) for n in range(count))
    device = Device("d", Kind.GPU, "n", "s")
    return Encoder({"wattshed.node": "n"}, "0").request(Batch(devices=(device,), ticks=ticks))


def test_a_running_collector_is_backed_up_and_comes_back(
    tmp_path: Path, collect: Collect, capsys: pytest.CaptureFixture[str]
) -> None:
    root, data = tmp_path / "backups", tmp_path / "data"
    root.mkdir()
    told = Durability(backup_folder=root)
    with collect(Config(listen="127.0.0.1:0", data=str(data), durability=told)) as running:
        assert running.post(body(20)).status == 200
        place = ("--data", str(data))
        assert run("backup", str(root / "monday"), "--json", *place) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["tables"]["tick"], said["folder"]) == (20, str(root / "monday"))
        assert running.post(body(30)).status == 200
        assert run("backup", str(root / "tuesday"), "--base", str(root / "monday"), *place) == 0
        said = capsys.readouterr().out
        assert f"on {root / 'monday'}" in said
        rows = said.split()[2]
        for folder, why in (
            (str(tmp_path / "elsewhere"), "is not below durability.backup_folder"),
            (f"{root}/../elsewhere", "is not below durability.backup_folder"),
            (str(root / "monday"), "is not empty"),
        ):
            assert run("backup", folder, *place) == 2
            assert why in capsys.readouterr().err
        for wrong in (b"[]", b'{"folder": 5}', b'{"folder": "a\\u0000b"}'):
            assert running.send("/v1/backup", wrong).status == 400
        assert json.loads(running.get("/v1/backup").body) == {"folder": None, "bytes": None}
        ready = running.get("/readyz")
        assert ready.status == 200
    assert run("restore", str(root / "tuesday"), "--data", str(tmp_path / "new")) == 0
    said = capsys.readouterr().out
    assert f"restored {rows} rows" in said
    assert (tmp_path / "new" / "chdb").is_dir()


async def test_without_a_folder_for_them_none_is_written(aiohttp_client: AiohttpClient) -> None:
    job = LedgerJob(away, Policy(), Telemetry(), 60.0)
    app = web.Application(middlewares=[errors])
    app.add_routes(BackupApi(job, None).routes())
    client = await aiohttp_client(app)
    answer = await client.post("/v1/backup", json={"folder": "/tmp/x"})
    job.close()
    assert answer.status == 400
    assert "the collector may not write backups" in (await answer.json())["error"]


def away() -> Shards:
    raise Retryable("away")


def test_what_is_not_there_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("backup", str(tmp_path / "b"), "--data", str(tmp_path)) == 1
    assert "there is no data in" in capsys.readouterr().err
    assert run("backup", str(tmp_path / "b"), "--data", "http://127.0.0.1:9") == 2
    assert "its own BACKUP statement" in capsys.readouterr().err
    assert run("restore", str(tmp_path / "b"), "--data", str(tmp_path / "new")) == 2
    assert "is no complete backup" in capsys.readouterr().err
