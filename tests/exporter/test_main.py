"""The program as a whole: exit codes, signals, one scrape, a replay to its end."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from wattshed_exporter import __main__ as program
from wattshed_exporter import __version__
from wattshed_exporter.allocations import ALLOCATORS
from wattshed_exporter.allocations.options import Allocations
from wattshed_exporter.claim import claim
from wattshed_exporter.config import Config, Estimate, Otlp, Replay, Roots, Web
from wattshed_exporter.errors import ConfigError
from wattshed_exporter.signals import Signals
from wattshed_exporter.sources import METERS, SOURCES
from wattshed_exporter.telemetry import Telemetry


def exporter(*argv: str, **environ: str) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WATTSHED_")}
    return subprocess.Popen(
        [sys.executable, "-m", "wattshed_exporter", *argv],
        env={**clean, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def get(url: str) -> tuple[int, str]:
    """Fetch a page of an exporter that may still be starting."""
    until = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=120) as response:
                return response.status, response.read().decode()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
    return found


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    file = tmp_path / "day.csv"
    rows = [f"2025-11-23T00:00:{s:02d}Z,{100 + s}" for s in range(10)]
    file.write_text("\n".join(["ts,power_watts", *rows]) + "\n")
    return file


@pytest.fixture
def running(port: int) -> Iterator[subprocess.Popen[str]]:
    process = exporter(
        "--sources=estimate", "--interval-seconds=0.1", "--node=n1",
        WATTSHED_WEB_LISTEN_ADDRESS=f"127.0.0.1:{port}",
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def test_it_serves_until_it_is_told_to_stop(running: subprocess.Popen[str], port: int) -> None:
    status, body = get(f"http://127.0.0.1:{port}/healthz")
    assert (status, json.loads(body)["sources"]) == (200, {"estimate": True})
    _, body = get(f"http://127.0.0.1:{port}/metrics")
    assert 'wattshed_source_up{source="estimate"} 1.0' in body
    assert 'node="n1"' in body
    began = time.monotonic()
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=120)
    assert time.monotonic() - began < 2
    assert running.returncode == 0
    assert "Traceback" not in said
    assert "\x1b" not in said


def test_an_interrupt_stops_it_too_even_while_the_collector_is_away(port: int) -> None:
    process = exporter(
        "--sources=estimate", "--interval-seconds=0.05", f"--web.listen-address=127.0.0.1:{port}",
        "--otlp.endpoint=http://127.0.0.1:9",
    )  # fmt: skip
    get(f"http://127.0.0.1:{port}/healthz")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert time.monotonic() - began < 2
    assert process.returncode == 0
    assert "cannot be reached" in said


def told(url: str, line: str) -> str:
    """Return the page once it holds a line."""
    until = time.monotonic() + 120
    while line not in (body := get(url)[1]):
        assert time.monotonic() < until, f"{line} is not in\n{body}"
        time.sleep(0.02)
    return body


def test_a_driver_can_be_unloaded_between_two_signals(
    fake_nvml: Path, tmp_path: Path, port: int
) -> None:
    scenario = tmp_path / "scenario"
    scenario.write_text("energy 9000000000\n")
    process = exporter(
        "--sources=nvml", "--interval-seconds=0.05", f"--web.listen-address=127.0.0.1:{port}",
        LD_LIBRARY_PATH=str(fake_nvml), FAKE_NVML_SCENARIO=str(scenario),
    )  # fmt: skip
    metrics = f"http://127.0.0.1:{port}/metrics"
    try:
        told(metrics, 'wattshed_source_up{source="nvml"} 1.0')
        process.send_signal(signal.SIGUSR1)
        body = told(metrics, 'wattshed_source_up{source="nvml"} 0.0')
        assert "wattshed_power_watts{" not in body
        # The driver is loaded anew: handles of before are invalid, and its counter began at zero.
        scenario.write_text("generation 1\nenergy 1000\n")
        process.send_signal(signal.SIGUSR2)
        body = told(metrics, 'wattshed_source_up{source="nvml"} 1.0')
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    assert 'wattshed_source_errors_total{reason="counter_reset",source="nvml"} 1.0' in body
    assert body.count("wattshed_source_errors_total{") == 1
    assert "source nvml: released" in said
    assert "source nvml: taken up again" in said
    assert process.returncode == 0


def test_a_replay_ends_by_itself_once_all_is_handed_over(recording: Path) -> None:
    process = exporter(
        "--sources=replay", f"--replay.file={recording}", "--stdout", "--web.listen-address="
    )
    out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    ticks = [json.loads(line) for line in out.splitlines()]
    assert len(ticks) == 10
    assert ticks[-1]["energy_uj"] == sum(100.5 + s for s in range(9)) * 1_000_000


class Hasty(Signals):
    """Signals that say to stop as soon as only what was read is still to be handed over."""

    def __init__(self) -> None:
        self._caught = queue.SimpleQueue()
        self._actions = {}

    def wait(self, seconds: float) -> bool:
        return seconds == 0 or super().wait(seconds)


@pytest.mark.parametrize("keeps", [False, True])
def test_a_replay_that_could_not_be_delivered_says_so(
    recording: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, keeps: bool
) -> None:
    caplog.set_level(logging.INFO)
    told = config(
        sources=("replay",), replay=Replay(file=recording), web=Web(listen_address=""),
        otlp=Otlp(endpoint="http://127.0.0.1:9"), state_dir=tmp_path / "s" if keeps else None,
    )  # fmt: skip
    status = program.run(told, Hasty())
    if keeps:
        assert status == 0
        assert "requests that wait for the next start: 1, ticks: 10" in caplog.text
    else:
        assert status == 1
        assert "requests that could not be sent and are lost: 1, ticks: 10" in caplog.text
        assert "not delivered: 10" in caplog.text


def test_a_stalled_reader_of_standard_output_holds_up_nothing() -> None:
    process = exporter(
        "--sources=simulate", "--simulate.history-hours=0.1", "--stdout", "--web.listen-address=",
        "--interval-seconds=0.01",
    )  # fmt: skip
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())
    time.sleep(1.0)  # while the pipe fills, which nobody reads
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 0
    process.communicate()


def test_a_second_exporter_on_the_same_state_dir_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = claim(tmp_path)
    with pytest.raises(ConfigError, match="is used by another exporter"):
        program.run(config(sources=("estimate",), state_dir=tmp_path, stdout=True), Hasty())
    assert program.once(config(sources=("estimate",), state_dir=tmp_path), lambda _: True) == 0
    assert "wattshed_device_info{" in capsys.readouterr().out
    os.close(held)


def test_a_state_dir_that_cannot_be_made_does_not_stop_the_exporter(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert program.hold(tmp_path / "file" / "state") is None
    assert program.hold(None) is None


def test_an_address_in_use_is_told_plainly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = exporter(f"--web.listen-address=127.0.0.1:{taken.getsockname()[1]}")
        _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert said.endswith("Address already in use\n")
    assert said.startswith("wattshed-exporter: web.listen_address: 127.0.0.1:")


def test_a_bad_configuration_lists_every_problem_and_ends_with_two(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        program.main(["--sources=magic", "--interval-seconds=0"])
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("wattshed-exporter: --") for line in lines)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--help"], ["--version"]):
        with pytest.raises(SystemExit) as caught:
            program.main(argv)
        assert caught.value.code == 0
    said = capsys.readouterr().out
    assert "examples:\n  wattshed-exporter " in said
    assert said.endswith(f"wattshed-exporter {__version__}\n")


def config(**more: object) -> Config:
    quick = {"node": "n1", "sources": ("estimate",), "interval_seconds": 0.02}
    estimate = Estimate(idle_watts=10.0, max_watts=20.0)
    return Config(**{**quick, "estimate": estimate, **more})  # type: ignore[arg-type]


def never(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def test_once_prints_energy_and_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.once(config(), never) == 0
    said = capsys.readouterr().out
    assert "wattshed_energy_joules_total{" in said
    assert "wattshed_power_watts{" in said


def test_once_where_there_is_nothing_fails(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    nowhere = Roots(procfs=tmp_path, sysfs=tmp_path)
    assert program.once(config(sources=("rapl",), roots=nowhere), never) == 1
    assert capsys.readouterr().out == ""
    assert "nothing here says how much it uses" in caplog.text


def test_once_leaves_alone_what_the_service_has_learned(tmp_path: Path) -> None:
    kept = tmp_path / "baselines.json"
    device = f"host:{socket.gethostname()}"
    for text in (
        json.dumps({"version": 1, "devices": {device: {"bare": [[1, 10.0]] * 3}}}), "broken",
    ):  # fmt: skip
        kept.write_text(text)
        inode = kept.stat().st_ino
        assert program.once(config(state_dir=tmp_path), never) == 0
        assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [(kept.name, text)]
        assert kept.stat().st_ino == inode


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "the disk is full")


def test_once_says_so_where_it_cannot_print(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    assert program.once(config(), never) == 1
    assert caplog.messages[-1] == "standard output cannot be written: the disk is full"


def test_once_can_be_interrupted() -> None:
    process = exporter("--once", "--sources=estimate", "--interval-seconds=30")
    assert process.stderr is not None
    assert "devices: 1" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (0, "")


def test_auto_is_every_meter_and_the_estimate_in_reserve() -> None:
    sampler = program.build_sampler(config(sources=("auto",)), [], Telemetry())
    assert [w.source.name for w in sampler.workers] == [*METERS, "estimate"]
    assert [w.standby() is None for w in sampler.workers] == [True] * len(METERS) + [False]
    both = program.build_sampler(config(sources=("auto", "estimate")), [], Telemetry())
    assert [w.standby() is None for w in both.workers] == [True] * (len(METERS) + 1)


def test_a_source_without_its_package_is_a_problem_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(SOURCES, "rapl", "wattshed_exporter.sources.missing")
    with pytest.raises(ConfigError) as caught:
        program.build_sampler(config(sources=("rapl",)), [], Telemetry())
    (problem,) = caught.value.problems
    assert problem.startswith("sources: rapl needs a package that is not installed: ")


def test_outputs_are_built_as_told() -> None:
    both = config(stdout=True, otlp=Otlp(endpoint="http://127.0.0.1:9"))
    outputs = program.build_outputs(both, Telemetry())
    assert [output.name for output in outputs] == ["otlp", "stdout"]
    for output in outputs:
        output.close()
    assert program.build_outputs(config(web=Web(listen_address="")), Telemetry()) == []


def test_boot_time(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  1 2 3\nbtime 1763856000\nprocesses 5\n")
    assert program.boot_ms(tmp_path) == 1_763_856_000_000
    (tmp_path / "stat").write_text("btime\n")
    assert program.boot_ms(tmp_path) is None
    assert program.boot_ms(tmp_path / "none") is None


class TestAllocators:
    def built(self, *names: str) -> list[str]:
        config = Config(node="n", allocations=Allocations(sources=names))
        return [plug_in.name for plug_in in program.build_allocators(config)]

    def test_none_is_nobody(self) -> None:
        assert self.built("none") == []

    def test_auto_is_everybody_who_needs_no_file_in_the_order_in_which_they_count(self) -> None:
        found = self.built("auto")
        assert found == [name for name in ALLOCATORS if name in found]
        assert "static" not in found

    def test_nobody_here_holds_what_is_made_up(self) -> None:
        config = Config(node="n", sources=("simulate", "estimate"))
        sampler = program.build_sampler(config, [], Telemetry())
        for worker in sampler.workers:
            worker.step()
        assert {d.source for d in sampler.snapshot().devices} == {"simulate", "estimate"}
        assert {d.source for d in sampler.devices()} == {"estimate"}

    def test_without_them_there_are_no_rounds_and_without_pulling_no_counters(self) -> None:
        config = Config(node="n", web=Web(listen_address=""))
        telemetry = Telemetry()
        sampler = program.build_sampler(Config(node="n", sources=("estimate",)), [], telemetry)
        assert program.build_rounds(config, [], sampler, [], telemetry, None) is None
        assert program.build_live(config, telemetry, sampler.baselines.idle_watts, []) is None
