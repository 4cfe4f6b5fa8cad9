"""The wheel as `pip install` gives it to a node: whole, and an exporter that needs two packages."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
SOURCES = {
    "wattshed": "exporter/wattshed",
    "wattshed_exporter": "exporter/wattshed_exporter",
    "wattshed_collector": "collector/wattshed_collector",
    "wattshed_dashboards": "dashboards/src/wattshed_dashboards",
    **{f"wattshed_dashboards/files/{name}": f"dashboards/{name}"
       for name in ("alerts", "grafana", "provisioning", "runbooks")},
    "share/wattshed/exporter": "exporter/systemd",
    "share/wattshed/collector": "collector/systemd",
    "share/wattshed/slurm": "exporter/slurm",
}  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={folder}"]
    pins = {"PIP_BUILD_CONSTRAINT": str(ROOT / "constraints.txt")}
    subprocess.run([*build, str(ROOT)], check=True, env={**os.environ, **pins})
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_holds_every_file(wheel: Path) -> None:
    names = {name.partition(".data/data/")[2] or name for name in zipfile.ZipFile(wheel).namelist()}
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *SOURCES.values()],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    wanted = {
        file.replace(source, target, 1)
        for target, source in SOURCES.items()
        for file in listed
        if file.startswith(f"{source}/")
    }
    assert len(wanted) > 300
    assert wanted - names == set()
    for part in ("migrations/0001", "files/grafana/", "files/runbooks/", "files/alerts/"):
        assert any(part in name for name in names), part


@pytest.fixture(scope="module")
def node(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with the wheel, without any extra: its ``bin``."""
    folder = tmp_path_factory.mktemp("node") / "wattshed"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    install = [sys.executable, "-m", "pip", "--quiet", f"--python={folder}/bin/python", "install"]
    install += ["--no-compile", f"--constraint={ROOT / 'constraints.txt'}", str(wheel)]
    subprocess.run(install, check=True)
    return folder / "bin"


def run(node: Path, *command: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("WATTSHED_", "PYTHON"))}
    return subprocess.run(
        [str(node / command[0]), *command[1:]],
        env=clean,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_exporter_measures_with_two_packages_beside_it(node: Path) -> None:
    code = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
    packages = {
        word.lower().replace("-", "_") for word in run(node, "python", "-c", code).stdout.split()
    }
    assert packages == {"wattshed", "prometheus_client", "pyyaml"}
    estimate = ("--estimate.idle-watts=5", "--estimate.max-watts=10", "--interval-seconds=0.05")
    done = run(node, "wattshed-exporter", "--once", "--sources=estimate", *estimate)
    assert done.returncode == 0, done.stderr
    assert "\nwattshed_energy_joules_total{" in done.stdout


@pytest.mark.parametrize("program", ["wattshed-collector", "wattshed"])
def test_what_only_a_collector_has_is_named_where_it_is_missing(node: Path, program: str) -> None:
    done = run(node, program, "--help")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{program}: ")
    assert done.stderr.endswith(" is missing; pip install 'wattshed[collector]'\n")


def test_units_lie_where_the_pages_say(node: Path) -> None:
    shared = node.parent / "share/wattshed"
    for file in ("exporter/wattshed-exporter.service", "collector/wattshed-collector.service"):
        assert "ExecStart=/opt/wattshed/bin/" in (shared / file).read_text()
    assert (shared / "slurm/prolog.sh").read_bytes() == (
        ROOT / "exporter/slurm/prolog.sh"
    ).read_bytes()
