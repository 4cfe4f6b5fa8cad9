"""``wattshed import`` of files as people type it: to a store, to a collector, and into trouble."""

from __future__ import annotations

import gzip
import json
import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.fixtures.stores import Stores

from wattshed_collector.cli import main
from wattshed_collector.config import Config, Retention
from wattshed_collector.store.migrate import Layout

if TYPE_CHECKING:
    from tests.collector.conftest import Running

NOW_S = int(time.time()) - 600
ROWS = [f"{NOW_S + second},{100 + second % 7},GPU-1" for second in range(0, 300, 5)]
TABLE = "\n".join(["t,p,uuid", *ROWS, f"{NOW_S},x,GPU-1", f"{NOW_S - 40 * 86400},1,GPU-1"])
HOW = ("--map", "time=t", "--map", "power_watts=p", "--map", "device=uuid", "--node", "n1")
TRAINING = "mlperf-training/smc-ac-power/results/1xSMC-H100-SXM-80GB/llama2_70b_lora"


@pytest.fixture(scope="module")
def folder(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that keeps raw readings for 30 days."""
    path = tmp_path_factory.mktemp("data")
    stores.prepare(path, Layout())
    return path


def run(
    capsys: pytest.CaptureFixture[str], *arguments: str | Path, status: int = 0
) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["import", *map(str, arguments)])
    said = capsys.readouterr()
    assert ended.value.code == status, said.err
    return said.out, said.err


def answer(said: tuple[str, str]) -> Any:
    return json.loads(said[0])


EXPECTED = {
    "dry_run": False,
    "readings": 61,
    "ticks": 60,
    "devices": ["GPU-1"],
    "workloads": 0,
    "allocations": 0,
    "outcomes": 0,
    "window": {"start": NOW_S, "end": NOW_S + 295},
}


def left_out(file: Path, **lines: int) -> dict[str, dict[str, Any]]:
    return {reason: {"count": 1, "file": str(file), "line": n} for reason, n in lines.items()}


def test_into_a_store(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "power.csv.gz"
    file.write_bytes(gzip.compress(TABLE.encode()))
    how = ("csv", file, *HOW, "--data", folder, "--json")
    bad = left_out(file, not_a_number=62, too_old=63)
    tried = run(capsys, *how, "--dry-run")
    assert answer(tried) == {**EXPECTED, "dry_run": True, "left_out": bad}
    assert "more than 29 days ago" in tried[1]
    for _ in range(2):
        assert answer(run(capsys, *how)) == {**EXPECTED, "left_out": bad}
        with pytest.raises(SystemExit):
            main(["energy", "--by", "device", "--json", "--data", str(folder)])
        energy = json.loads(capsys.readouterr().out)
        assert [row["joules"] for row in energy] == [pytest.approx(trapezoid())]


def trapezoid() -> float:
    watts = [float(row.split(",")[1]) for row in ROWS]
    return 5 * (sum(watts) - (watts[0] + watts[-1]) / 2)


def test_a_pipe_in_words(folder: Path) -> None:
    line = "RAM 1/2MB CPU [0%@1,off] VDD_IN 5299mW/6000mW VDD_SOC 1mW/1mW"
    command = [sys.executable, "-m", "wattshed_collector.cli", "import", "tegrastats"]
    how = ["--node", "orin", "--start", str(NOW_S), "--interval", "1", "--data", str(folder)]
    done = subprocess.run(
        [*command, *how, "--dry-run"],
        input="\n".join(["starting", line, line]).encode(),
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    stamps = [time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(NOW_S + n)) for n in (1, 2)]
    assert done.stdout.decode().splitlines() == [
        f"readings: 4, {stamps[0]} to {stamps[1]} UTC",
        "devices: 2 (orin/jetson_stats/VDD_IN, orin/jetson_stats/VDD_SOC)",
        "would be written: 4 ticks",
        "left out: 1 no_rail (first in line 1)",
    ]


def test_a_terminal_sees_bytes_rows_and_reasons(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "power.csv"
    file.write_text("\n".join([TABLE, *[f"{NOW_S + n / 10},1,GPU-1" for n in range(1500)]]))
    command = [sys.executable, "-m", "wattshed_collector.cli", "import", "csv", str(file), *HOW]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 160))
    with subprocess.Popen(
        [*command, "--dry-run", "--data", str(folder)], stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b"".join(iter(lambda: _read(ours), b"")).decode()
    os.close(ours)
    assert process.returncode == 0
    assert "power.csv" in shown
    assert "1,561 rows" in shown  # all of them: the last state is shown as well
    assert "1 not_a_number" in shown
    assert f"{file.stat().st_size / 1000:.1f}" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # its other end is closed
        return b""


@pytest.mark.parametrize(
    ("text", "arguments", "status", "said"),
    [
        ("", ("csv", *HOW), 2, "empty"),
        ("a", ("csv",), 2, "which one column is the time"),
        ("t,p,uuid\nx,1,GPU-1", ("csv", *HOW), 1, "nothing was found"),
        ("x", ("nvidia-smi", "--node", "n"), 2, "--columns"),
        ("x", ("tegrastats", "--node", "n", "--interval", "0"), 2, "above 0"),
        ("x", ("ipmi",), 2, "--node"),
    ],
)
def test_trouble(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    arguments: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    file = tmp_path / "log"
    file.write_text(text)
    name, *how = arguments
    assert said in run(capsys, name, file, *how, "--data", folder, status=status)[1]


def test_no_file_and_no_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing"
    how = ("--data", folder)
    assert "missing" in run(capsys, "csv", missing, *HOW, *how, status=1)[1]
    assert "missing" in run(capsys, "mlperf", missing, *how, status=1)[1]
    assert "no data" in run(capsys, "csv", missing, *HOW, "--data", missing, status=1)[1]


@pytest.mark.parametrize("name", ["csv", "nvidia-smi", "tegrastats", "ipmi", "mlperf"])
def test_help_has_examples(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert f"wattshed import {name} " in run(capsys, name, "--help")[0]


def test_a_result_folder_that_is_too_old(
    data: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run(capsys, "mlperf", data / TRAINING, "--data", folder, "--json", status=1)
    assert answer(said)["left_out"]["too_old"]["count"] > 1000
    assert (answer(said)["ticks"], answer(said)["workloads"]) == (0, 0)
    assert "retention.raw_days" in said[1]


@pytest.fixture(scope="class")
def running(
    tmp_path_factory: pytest.TempPathFactory,
    collect: Callable[[Config], AbstractContextManager[Running]],
) -> Iterator[Running]:
    """A collector that keeps raw readings for ever."""
    data = str(tmp_path_factory.mktemp("running"))
    retention = Retention(raw_days=0, minute_days=0)
    with collect(Config(listen="127.0.0.1:0", data=data, retention=retention)) as it:
        yield it


class TestCollector:
    """Where one runs, it writes."""

    def test_to_a_collector(
        self, running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "power.csv"
        file.write_text(TABLE)
        # It is found by itself on its data folder.
        how = ("csv", file, *HOW, "--data", running.config.data, "--json")
        sql = "SELECT count(), sum(power_uw) FROM tick FINAL"
        assert answer(run(capsys, *how, "--dry-run"))["dry_run"]
        assert running.rows("SELECT count() FROM tick") == [(0,)]
        bad = left_out(file, not_a_number=62)
        for _ in range(2):
            said = answer(run(capsys, *how))
            assert (said["readings"], said["ticks"], said["left_out"]) == (61, 61, bad)
            watts = sum(int(row.split(",")[1]) for row in ROWS) + 1
            assert running.rows(sql) == [(61, watts * 1_000_000)]

    def test_what_a_collector_refuses_is_counted(
        self, running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "kinds.csv"
        file.write_text(f"t,p,uuid,k\n{NOW_S},1,GPU-2,gpu\n{NOW_S},1,GPU-3,toaster\n")
        how = ("csv", file, *HOW, "--map", "kind=k", "--url", running.url, "--json")
        said = answer(run(capsys, *how))
        assert (said["devices"], said["left_out"]) == (["GPU-2"], left_out(file, bad_attribute=3))

    def test_a_result_folder(
        self, running: Running, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        result = data / TRAINING
        said = answer(run(capsys, "mlperf", result, "--url", running.url, "--json"))
        assert said["ticks"] > 1000
        assert said["left_out"] == {}
        assert min(said["workloads"], said["allocations"], said["outcomes"]) > 0
        counts = (
            "SELECT (SELECT count() FROM outcome FINAL), (SELECT count() FROM allocation FINAL)"
        )
        assert running.rows(counts) == [(said["outcomes"], said["allocations"])]
        again = answer(run(capsys, "mlperf", result, "--url", running.url, "--json"))
        assert again == said
        assert running.rows(counts) == [(said["outcomes"], said["allocations"])]
