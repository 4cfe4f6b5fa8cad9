"""``python -m bench.gpu FOLDER``: what a token costs on the GPU of this machine.

One workload after another holds GPU 0 while the exporter reads it and keeps what it would send;
FOLDER then has ``recording.json`` (raw readings) and ``state``, from which an exporter started on
it with a collector delivers readings, holders and outcomes. Needs PyTorch with CUDA, and
nvidia-ml-py. Nobody else may use the GPU meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

import wattshed
from bench.gpu import shapes
from bench.gpu.readings import Recorder
from bench.gpu.shapes import Work

LISTEN = "127.0.0.1:9741"
NOBODY = "http://127.0.0.1:9"
SETTLE_SECONDS = 1.2
"""A round of the exporter, and what the mean power of the last second still knows."""
BATCHES = (1, 16, 64)


class Bench:
    """Runs phases and notes when each was and what it made."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._holders = folder / "holders.yaml"
        self._holders.write_text("[]")
        self._seconds = seconds
        self._recorder = Recorder()
        self._recorder.start()
        self.phases: list[tuple[str, int, int]] = []
        self.outcomes: dict[str, tuple[str, int, float]] = {}

    def idle(self, name: str) -> None:
        """Let the GPU be, held by nobody."""
        with self._phase(name):
            time.sleep(self._seconds)

    def hold(self, name: str) -> None:
        """Hold the GPU and do nothing."""
        self._hold(name)
        with self._phase(name):
            time.sleep(self._seconds)

    def run(self, name: str, outcome: str, prepare: Callable[[], Work]) -> None:
        """Work for a while and count ``outcome``; what was prepared is freed afterwards."""
        work = prepare()
        work()
        self._hold(name)
        with self._phase(name), wattshed.workload(name, key=f"static/{name}") as whose:
            whose.outcome(outcome, 0)
            wattshed.flush()
            began, made = time.monotonic(), 0
            while time.monotonic() - began < self._seconds:
                count = work()
                whose.outcome(outcome, count)
                made += count
            self.outcomes[name] = (outcome, made, time.monotonic() - began)
            wattshed.flush()
        del work
        torch.cuda.empty_cache()

    def close(self) -> dict[str, object]:
        """Stop reading and return the recording."""
        self._holders.write_text("[]")
        time.sleep(SETTLE_SECONDS)
        self._recorder.stop()
        found = self._recorder.readings
        return {
            "name": torch.cuda.get_device_name(),
            "cpu_microseconds_a_call": found.cpu_microseconds,
            "states": found.states,
            "phases": self.phases,
            "outcomes": self.outcomes,
            "readings": found.rows,
        }

    def table(self) -> Iterator[str]:
        """Yield a line per phase: watts, and joules per outcome by the card's own counter."""
        yield f"{'phase':<16} {'W':>6}  {'a second':>9}  joules each"
        for name, start, end in self.phases:
            joules = self._recorder.joules(start, end)
            line = f"{name:<16} {1000 * joules / (end - start):6.0f}"
            if name in self.outcomes:
                outcome, count, seconds = self.outcomes[name]
                line += f"  {count / seconds:9.1f}  {joules / count:.4f} {outcome}"
            yield line

    def _hold(self, name: str) -> None:
        draft = self._holders.with_suffix(".draft")
        draft.write_text(json.dumps([{"device": "*", "workload": {"name": name}}]))
        draft.replace(self._holders)
        time.sleep(SETTLE_SECONDS)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        self._recorder.phase, start = name, time.time()
        yield
        self.phases.append((name, round(start * 1000), round(time.time() * 1000)))


def phases(bench: Bench) -> None:
    """Run all of them, beginning with nothing on the card."""
    bench.idle("bare-idle")
    inference(bench)
    bench.run("train", "step", lambda: shapes.train(shapes.Decoder(shapes.LLAMA_1B, trains=True)))
    bench.run("matmul", "product", shapes.multiply)


def inference(bench: Bench) -> None:
    """Park a model, then decode with it in several batches, then prefill."""
    model = shapes.Decoder(shapes.LLAMA_7B)
    torch.cuda.synchronize()
    bench.hold("parked-7b")
    for batch in BATCHES:
        bench.run(f"decode-b{batch}", "token_out", partial(shapes.decode, model, batch))
    bench.run("prefill", "token_in", partial(shapes.prefill, model))


@contextmanager
def exporter(folder: Path) -> Iterator[None]:
    """Have the exporter read this machine; nobody takes what it sends, so all of it is kept."""
    command = [sys.executable, "-m", "wattshed_exporter", "--sources", "nvml"]
    command += ["--interval-seconds", "1", "--state-dir", str(folder / "state")]
    command += ["--otlp.endpoint", NOBODY, "--web.listen-address", LISTEN, "--outcomes.web"]
    command += ["--allocations.sources", "static", "--allocations.interval-seconds", "1"]
    command += ["--allocations.static.file", str(folder / "holders.yaml")]
    with (folder / "exporter.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log)
        try:
            time.sleep(2)
            yield
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each phase (15)")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no GPU here")
    folder: Path = arguments.folder
    folder.mkdir(parents=True)
    bench = Bench(folder, arguments.seconds)
    wattshed.configure(f"http://{LISTEN}")
    with exporter(folder):
        phases(bench)
        said = bench.close()
    (folder / "recording.json").write_text(json.dumps(said))
    print("\n".join(bench.table()))


if __name__ == "__main__":
    main()
