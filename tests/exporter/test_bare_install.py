"""The exporter runs on its two dependencies alone and imports no more than it needs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

ABSENT = (
    "aiohttp", "chdb", "clickhouse_connect", "pynvml", "opentelemetry", "google.protobuf", "rich",
    "plotly", "numpy", "pandas", "zstandard", "h2", "hpack", "hyperframe", "grpc",
)  # fmt: skip
UNWANTED = ("asyncio", "yaml", "argparse", "sqlite3", "multiprocessing")

BLOCK = f"""
import sys

ABSENT = {ABSENT!r}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if any(name == a or name.startswith(a + ".") for a in ABSENT):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None

sys.meta_path.insert(0, Absent())
"""

SERVE = """
import json, threading, urllib.request
from wattshed_exporter.__main__ import build_outputs, build_sampler, serve
from wattshed_exporter.config import Config, Estimate, Otlp, Web
from wattshed_exporter.telemetry import Telemetry

config = Config(
    node="bare", sources=("auto",), interval_seconds=0.05, web=Web(listen_address="127.0.0.1:0"),
    estimate=Estimate(idle_watts=5.0, max_watts=10.0), otlp=Otlp(endpoint="http://127.0.0.1:9"),
)
telemetry = Telemetry()
outputs = build_outputs(config, telemetry)
sampler = build_sampler(config, outputs, telemetry)
server = serve(config, sampler, telemetry)
loaded = sorted(sys.modules)
until = threading.Event()
sampler.run(lambda seconds: until.wait(0.05) or sampler.settled(3))
with urllib.request.urlopen("http://%s:%d/metrics" % server.address) as response:
    body = response.read().decode()
for output in outputs:
    output.close()
server.close()
devices = [d.source for d in sampler.snapshot().devices]
print(json.dumps({"devices": devices, "loaded": loaded, "body": body}))
"""


@pytest.fixture(scope="module")
def bare() -> dict[str, object]:
    """What an exporter without any extra says about itself."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCK + SERVE], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout)
    return said


def test_it_finds_a_source_and_serves_its_energy(bare: dict[str, object]) -> None:
    assert bare["devices"]
    body = bare["body"]
    assert isinstance(body, str)
    assert "wattshed_energy_joules_total{" in body
    assert "wattshed_source_up{" in body
    assert "wattshed_build_info{" in body


def test_it_loads_no_more_than_it_needs(bare: dict[str, object]) -> None:
    loaded = bare["loaded"]
    assert isinstance(loaded, list)
    assert not {name.partition(".")[0] for name in loaded} & {*ABSENT, *UNWANTED}


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_the_command_line_works(flag: str) -> None:
    code = f"{BLOCK}\nfrom wattshed_exporter.__main__ import main\nmain([{flag!r}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
