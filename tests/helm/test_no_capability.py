"""The exporter with the rights that the chart gives it: root without a capability, or nobody.

The kernel is real and so is the loss of rights (setpriv); the node's folders and its kubelet are
stand-ins.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.fixtures import kubelet
from tests.fixtures.programs import samples, until
from tests.fixtures.sysfs import add_zone
from tests.helm.chart import render
from tests.helm.test_exporter import NOBODY, config, container, environ, exporters, pod

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("setpriv") is None,
        reason="needs root and setpriv, to give rights up",
    ),
]
SOME_ID = 10001
Up = Callable[[], dict[str, float]]
"""What each source of a running exporter says of itself: 1 where it reads."""


def without_rights(user: int, group: int) -> list[str]:
    """Return how a command begins that runs as a container that drops ALL."""
    who = [f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    return ["setpriv", *who, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.fixture
def node() -> Iterator[Path]:
    """A node's folder: all may look into it, but only root may read RAPL's counter."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        zone = add_zone(Path(name) / "sys", "intel-rapl:0", "package-0", 123_456_789)
        (zone / "energy_uj").chmod(0o400)
        yield Path(name)


@contextmanager
def running(folder: Path, made: dict[str, Any], user: int, **environ: str) -> Iterator[Up]:
    """Run an exporter with a pod's configuration, on a node that is a folder."""
    log = folder / "log"
    made["roots"] = {"procfs": "/proc", "sysfs": f"{folder}/sys", "cgroupfs": f"{folder}/cgroup"}
    made["allocations"] = {"kubernetes": {"podresources_socket": f"{folder}/kubelet.sock"}}
    made |= {"state_dir": f"{folder}/spool", "web": {"listen_address": "127.0.0.1:0"}, "otlp": {}}
    (folder / "config.yaml").write_text(json.dumps(made))
    (folder / "config.yaml").chmod(0o444)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WATTSHED_")}
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*without_rights(user, user), sys.executable, "-m", "wattshed_exporter"],
            env={**clean, **environ, "WATTSHED_CONFIG": str(folder / "config.yaml")},
            stderr=stream,
        )
    try:
        until(lambda: " port " in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        (line,) = (line for line in log.read_text().splitlines() if " port " in line)
        url = f"http://127.0.0.1:{line.rpartition(' ')[2]}/metrics"
        yield lambda: {
            s.labels["source"]: s.value for s in samples(url) if s.name == "wattshed_source_up"
        }
    finally:
        process.terminate()
        process.wait(20)


def test_root_without_a_capability_reads_counters_and_the_kubelet_and_loads_nvml(
    node: Path, fake_nvml: Path
) -> None:
    gpu = exporters({"exporter": {"nvidia": {"driverRoot": "/host/driver"}}})["gpu"]
    context = container(gpu)["securityContext"]
    assert (context["runAsUser"], context["capabilities"]) == (0, {"drop": ["ALL"]})
    (node / "scenario").write_text("")
    library = str(fake_nvml / Path(environ(gpu)["LD_PRELOAD"]).name)
    told = {"LD_PRELOAD": library, "FAKE_NVML_SCENARIO": str(node / "scenario")}
    wanted = {"rapl": 1.0, "nvml": 1.0, "podresources": 1.0}.items()
    with kubelet.running(node / "kubelet.sock"):
        (node / "kubelet.sock").chmod(0o700)
        with running(node, config(render(), "gpu"), 0, **told) as up:
            until(lambda: wanted <= up().items(), 20)


def test_nobody_reads_counters_after_the_init_container(node: Path) -> None:
    made = exporters(NOBODY)["node"]
    (init,) = pod(made)["initContainers"]
    for each, user in ((init, 0), (container(made), SOME_ID)):
        context = each["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (user, SOME_ID)
    counter = node / "sys/class/powercap/intel-rapl:0/energy_uj"
    read = [*without_rights(SOME_ID, SOME_ID), "cat", str(counter)]
    assert subprocess.run(read, stderr=subprocess.DEVNULL, check=False).returncode == 1

    script = init["command"][2].replace("/host/virtual", f"{node}/sys/class")
    subprocess.run([*without_rights(0, SOME_ID), sys.executable, "-c", script], check=True)

    assert subprocess.check_output(read) == b"123456789\n"
    found = counter.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, SOME_ID, 0o440)
