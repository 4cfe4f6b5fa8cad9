"""What the kernel says of this process, beside what prometheus-client makes of it."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import ProcessCollector

from wattshed_exporter.process import process
from wattshed_exporter.telemetry import Telemetry

STAT = "1 (a) b (c) S " + " ".join(str(n) for n in range(1, 50))
LIMITS = "Max open files            1024                 4096                 files     \n"


def machine(folder: Path, limits: str = LIMITS) -> Path:
    (folder / "self/fd").mkdir(parents=True)
    (folder / "stat").write_text("cpu 1 2 3\nbtime 1700000000\n")
    (folder / "self/stat").write_text(STAT)
    (folder / "self/limits").write_text(limits)
    for number in range(3):
        (folder / "self/fd" / str(number)).touch()
    return folder


def test_names_texts_and_values_are_those_of_prometheus_client(tmp_path: Path) -> None:
    root = machine(tmp_path)
    stock = ProcessCollector(proc=str(root), pid=lambda: "self", registry=None)
    told = [(f.name, f.documentation, f.samples[0].value) for f in stock.collect()]
    assert len(told) == 6
    assert list(process(root)) == told


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    assert list(process(tmp_path)) == []
    root = machine(tmp_path / "a", limits="")
    assert [name for name, _, _ in process(root)][-1] == "process_cpu_seconds"
    (root / "self/stat").write_text("nonsense")
    assert list(process(root)) == []


def test_no_limit_of_open_files_is_no_number(tmp_path: Path) -> None:
    root = machine(tmp_path, LIMITS.replace("1024", "unlimited"))
    assert list(process(root))[-1][2] == float("inf")


def test_health_is_collected_as_prometheus_client_collects_it() -> None:
    telemetry = Telemetry()
    telemetry.add("wattshed_source_errors_total", 2, "nvml", "deadline")
    telemetry.set("wattshed_source_up", 1, "nvml")
    ours, stock = list(telemetry.collect()), list(telemetry.registry.collect())
    assert [(f.name, f.type, f.documentation, f.unit) for f in ours] == [
        (f.name, f.type, f.documentation, f.unit) for f in stock
    ]
    steady = slice(None, -6)  # what the kernel says changes meanwhile
    assert [[tuple(s)[:5] for s in f.samples] for f in ours[steady]] == [
        [tuple(s)[:5] for s in f.samples] for f in stock[steady]
    ]
