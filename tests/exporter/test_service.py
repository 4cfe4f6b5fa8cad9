"""The service files: systemd understands them, and their settings are ours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fixtures.units import misread, weak

from wattshed_exporter.config import Config
from wattshed_exporter.settings import load

FOLDER = Path(__file__).parents[2] / "exporter" / "systemd"
UNIT = FOLDER / "wattshed-exporter.service"
GATEWAY = FOLDER / "gateway.conf"


def settings_of(unit: Path) -> dict[str, str]:
    """Return the variables that a unit sets, its specifiers filled in."""
    found = re.findall(r"^Environment=(.*)$", unit.read_text(), re.M)
    text = " ".join(found).replace("%S", "/var/lib").replace("/etc/wattshed", str(FOLDER))
    return dict(word.split("=", 1) for word in text.split())


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.name)
def test_every_config_that_is_shipped_loads(file: Path) -> None:
    config = load(Config, [f"--config={file}"], {}, prog="wattshed-exporter")
    assert config.otlp.endpoint


def test_the_units_set_only_what_there_is() -> None:
    config = load(Config, [], settings_of(UNIT), prog="wattshed-exporter")
    assert config.state_dir == Path("/var/lib/wattshed")
    small = load(Config, [], {**settings_of(UNIT), **settings_of(GATEWAY)}, prog="x")
    assert (small.web.listen_address, small.tier) == ("", "edge")
    assert small.interval_seconds >= 5


@pytest.mark.e2e
@pytest.mark.parametrize("drop_in", [None, GATEWAY], ids=["server", "gateway"])
def test_systemd_understands_every_line(tmp_path: Path, drop_in: Path | None) -> None:
    assert misread(UNIT, tmp_path, drop_in) == []


@pytest.mark.e2e
@pytest.mark.parametrize("drop_in", [None, GATEWAY], ids=["server", "gateway"])
def test_it_exposes_little(tmp_path: Path, drop_in: Path | None) -> None:
    found = weak(UNIT, tmp_path, drop_in)
    assert not found & {
        "UserOrDynamicUser", "NoNewPrivileges", "CapabilityBoundingSet_CAP_SYS_ADMIN"
    }  # fmt: skip


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """A sysfs with one CPU package whose counter only its owner may read, as the kernel has it."""
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, said in (("name", "package-0"), ("max_energy_range_uj", "262143328850")):
        (zone / name).write_text(f"{said}\n")
    (zone / "energy_uj").write_text("123456789\n")
    (zone / "energy_uj").chmod(0o400)
    return tmp_path / "sys"


@pytest.mark.e2e
def test_without_root_the_one_capability_reads_the_counters_of_rapl(powercap: Path) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to become somebody else with one capability")
    capability = re.findall(r"^AmbientCapabilities=CAP_(\w+)$", UNIT.read_text(), re.M)
    (name,) = (found.lower() for found in capability)
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    become += [f"--inh-caps=+{name}", f"--ambient-caps=+{name}", f"--bounding-set=-all,+{name}"]
    command = [sys.executable, "-m", "wattshed_exporter", "--once", "--sources=rapl"]
    command += [f"--roots.sysfs={powercap}", "--interval-seconds=0.05"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WATTSHED_")}
    done = subprocess.run(
        [*become, *command], env=clean, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert 'wattshed_energy_joules_total{cluster="",device="' in done.stdout
