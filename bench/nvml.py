"""What one round of the NVML source costs in Python, for eight GPUs, with the tests' stand-in.

The stand-in answers at once, so this is the exporter's own share. The time that the real driver
takes to answer is not in the number, and may be far more: for some fields it is milliseconds. Needs
a C compiler: ``python bench/nvml.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GPUS = 8
ROUNDS, REPEATS = 40, 400
"""The best of many short runs counts: on a shared machine the others are somebody else's."""
FIXTURES = Path(__file__).parents[1] / "tests/fixtures/nvml"


def build(folder: Path) -> None:
    """Compile the stand-in."""
    command = ["cc", "-O2", "-shared", "-fPIC"]
    command += ["-Wl,-soname,libnvidia-ml.so.1", "-o", str(folder / "libnvidia-ml.so.1")]
    subprocess.run([*command, *map(str, sorted(FIXTURES.glob("*.c")))], check=True)


def measure() -> None:
    """Print microseconds of CPU per round, without details and for one round of details."""
    from wattshed_exporter.config import Config
    from wattshed_exporter.sources.nvml import create

    source = create(Config(node="bench", detail_seconds=1e9))
    assert len(source.discover()) == GPUS
    source.read()
    best = min(_seconds(lambda: source.read(), ROUNDS) for _ in range(REPEATS))
    print(f"readings of {GPUS} GPUs: {best * 1e6:.1f} us per round")
    source = create(Config(node="bench", detail_seconds=1e-9))
    source.discover()
    details = len(source.read().details)
    best = min(_seconds(lambda: source.read(), ROUNDS // 4) for _ in range(REPEATS))
    print(f"readings and details ({details}): {best * 1e6:.1f} us per round")


def _seconds(call: object, rounds: int) -> float:
    assert callable(call)
    began = time.process_time()
    for _ in range(rounds):
        call()
    return (time.process_time() - began) / rounds


def main() -> None:
    if "FAKE_NVML_FOLDER" in os.environ:
        measure()
        return
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        environ = {**os.environ, "LD_LIBRARY_PATH": folder, "FAKE_NVML_FOLDER": folder}
        environ["FAKE_NVML_COUNT"] = str(GPUS)
        environ.pop("FAKE_NVML_SCENARIO", None)
        subprocess.run([sys.executable, __file__], env=environ, check=True)


if __name__ == "__main__":
    main()
