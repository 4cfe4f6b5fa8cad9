"""``wattshed import sacct`` as people type it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from tests.fixtures.stores import Stores

from wattshed_collector.cli import main
from wattshed_collector.cli.answers import Remote
from wattshed_collector.config import Config
from wattshed_collector.errors import InvalidInput
from wattshed_collector.receivers.history import PATH, documents, load
from wattshed_collector.receivers.sacct import Job
from wattshed_collector.store.client import Store
from wattshed_collector.store.migrate import Layout
from wattshed_collector.store.write import Writer
from wattshed_exporter.model import Batch, Device, Kind

if TYPE_CHECKING:
    from tests.collector.conftest import Running

DAY = datetime.now(UTC).replace(microsecond=0, second=0) - timedelta(days=1)
"""Yesterday, of which all has passed at any time of day."""
HEADER = "JobIDRaw|JobName|User|Account|Partition|AllocTRES|NodeList|Start|End"


def row(job: str = "7", gpus: int = 2, node: str = "n1") -> str:
    start, end = (DAY.replace(hour=hour, minute=0, tzinfo=None).isoformat() for hour in (1, 2))
    return f"{job}|train|ada|physics|gpu|cpu=1,gres/gpu={gpus}|{node}|{start}|{end}"


@pytest.fixture(scope="module")
def folder(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that knows one machine with two GPUs."""
    path = tmp_path_factory.mktemp("data")
    stores.prepare(path, Layout())
    store = Store(path)
    writer = Writer(store.client, window_seconds=0.0)
    gpus = tuple(Device(f"GPU-{i}", Kind.GPU, "n1", "nvml", name=f"gpu{i}") for i in range(2))
    writer.submit(Batch(devices=gpus)).result(120)
    writer.close()
    store.close()
    return path


def run(
    capsys: pytest.CaptureFixture[str], *arguments: str | Path, status: int = 0
) -> tuple[str, str]:
    """Run the command and return what it prints to standard output and error."""
    with pytest.raises(SystemExit) as ended:
        main(["import", "sacct", *map(str, arguments)])
    said = capsys.readouterr()
    assert ended.value.code == status, said.err
    return said.out, said.err


def answer(out: str) -> Any:
    return json.loads(out)


def test_a_file_twice(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sacct.txt"
    rows = [HEADER, row(), row("7.batch"), row("8", gpus=1), row("x"), row("9", node="n9")]
    file.write_text("\n".join(rows) + "\n")
    how = (file, "--data", folder, "--timezone", "UTC", "--json")
    expected = {
        "dry_run": True,
        "jobs": 3,
        "running": 0,
        "workloads": 2,
        "allocations": 4,
        "shared_out": 1,
        "steps": 1,
        "left_out": {"unknown_node": 1, "bad_job_id": 1},
    }
    assert answer(run(capsys, *how, "--dry-run")[0]) == expected
    assert answer(run(capsys, *how)[0]) == {**expected, "dry_run": False}
    again = answer(run(capsys, *how)[0])
    assert (again["workloads"], again["allocations"], again["jobs"]) == (0, 0, 3)


def test_a_pipe_in_words(folder: Path) -> None:
    text = "\n".join([HEADER, row("70", gpus=1), row("x")])
    command = [sys.executable, "-m", "wattshed_collector.cli", "import", "sacct", "-", "--dry-run"]
    done = subprocess.run(
        [*command, "--data", str(folder), "--timezone", "Europe/Berlin"],
        input=text.encode(),
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert done.stdout.decode().splitlines() == [
        "jobs: 1, of them running: 0; steps: 0",
        "would be written: 1 workloads, 2 allocations",
        "guessed: 1, where a job had some GPUs of a node and nobody knows which; "
        "it is given an equal share of each (method sacct_share)",
        "left out: 1 bad_job_id",
    ]


@pytest.mark.parametrize(
    ("text", "arguments", "status", "said"),
    [
        ("", (), 2, "empty"),
        ("7|train\n", (), 2, "--noheader"),
        ('{"jobs": [', (), 2, "JSON"),
        (HEADER, ("--timezone", "Mars/Olympus"), 2, "time zone"),
        (HEADER, ("--timezone", "../etc"), 2, "time zone"),
    ],
)
def test_input_that_is_none(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    arguments: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    file = tmp_path / "sacct.txt"
    file.write_text(text)
    out, err = run(capsys, file, "--data", folder, *arguments, status=status)
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


def test_files_that_are_not_there(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, err = run(capsys, tmp_path / "none", "--data", folder, status=1)
    assert "No such file" in err
    file = tmp_path / "sacct.txt"
    file.write_text(HEADER)
    _, err = run(capsys, file, "--data", tmp_path / "none", status=1)
    assert "there is no data" in err


class TestRunningCollector:
    def test_it_is_found_and_asked(
        self, collect: Collect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows = [row(str(number)) for number in range(1, 1002)]
        (tmp_path / "sacct.txt").write_text("\n".join([HEADER, *rows]))
        how = (tmp_path / "sacct.txt", "--data", tmp_path, "--timezone", "UTC", "--json")
        with collect(Config(listen="127.0.0.1:0", data=str(tmp_path))) as collector:
            assert collector.post(gauge()).status == 200
            dry = answer(run(capsys, *how, "--dry-run")[0])
            done = answer(run(capsys, *how)[0])
            again = answer(run(capsys, *how)[0])
            stands = "SELECT count(), uniq(workload_id) FROM v_allocation"
            assert collector.rows(stands) == [(1001, 1001)]
        assert (dry["jobs"], dry["workloads"], dry["allocations"]) == (1001, 1001, 1001)
        assert done == {**dry, "dry_run": False}
        assert (again["workloads"], again["allocations"]) == (0, 0)

    def test_what_it_refuses(self, collect: Collect, tmp_path: Path) -> None:
        good = documents([Job("7", "", "", "", "", "", ("n1",), 1000, 2000, 1)])[0]
        bad: list[Any] = [
            7,
            [7],
            [{}],
            *(
                [{**good, **wrong}]
                for wrong in (
                    {"start_ms": 3000},
                    {"start_ms": 0},
                    {"start_ms": 1.5},
                    {"end_ms": "x"},
                    {"end_ms": 10**15},
                    {"gpus": -1},
                    {"gpus": 10**400},
                    {"gpus": True},
                    {"name": None},
                    {"nodes": [1]},
                    {"nodes": None},
                )
            ),
        ]
        with collect(Config(listen="127.0.0.1:0", data=str(tmp_path))) as collector:
            remote = Remote(collector.url)
            for document in bad:
                with pytest.raises(InvalidInput, match="no list of jobs"):
                    remote.post(PATH, document)
            assert remote.post(PATH, []) == {}
            assert remote.post(PATH, [good])["unknown_node"] == 1

    @pytest.mark.parametrize("body", [b"", b"{}x", b"\xff"])
    def test_what_is_no_json(self, body: bytes) -> None:
        with pytest.raises(InvalidInput, match="no list of jobs"):
            load(body)


def gauge() -> bytes:
    """Return an OTLP request that makes the machine n1 and its GPU known."""
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    metric = scope.metrics.add(name="hw.power", unit="W")
    point = metric.gauge.data_points.add(as_double=1.0, time_unix_nano=time.time_ns())
    for name, value in (("hw.id", "GPU-0"), ("hw.type", "gpu"), ("wattshed.node", "n1")):
        point.attributes.add(key=name).value.string_value = value
    return request.SerializeToString()


Collect = Callable[[Config], AbstractContextManager["Running"]]
