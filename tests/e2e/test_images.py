"""The images as an operator runs them: built, locked down, stopped, started again.

The base is Debian's own Python under the name of the official image; all else is what is shipped.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from tests.fixtures.debian import BASE
from tests.fixtures.engine import Bed, bed
from tests.fixtures.programs import until

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
REVISION = "0123456789abcdef0123456789abcdef01234567"
LIMIT_BYTES = 90_000_000
NAMES = ("exporter", "collector")
LOCKED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--pids-limit=256")
OFTEN = ("--health-interval=1s", "--health-start-period=1s")
MEASURES = ("-e", "WATTSHED_SOURCES=simulate", "-e", "WATTSHED_SIMULATE_HISTORY_HOURS=0")


def image(name: str) -> str:
    return f"ghcr.io/wattshed/{name}:tested"


@pytest.fixture(scope="module")
def docker() -> Iterator[Bed]:
    """A dockerd that has built both images."""
    with bed() as made:
        for name in NAMES:
            told = ("VERSION=1.2.3", f"REVISION={REVISION}", "CREATED=2026-01-01T00:00:00Z")
            arguments = [f"--build-arg={word}" for word in told]
            made.build(ROOT, f"--file={name}/Dockerfile", f"--tag={image(name)}", *arguments)
        yield made


def inspected(docker: Bed, thing: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("inspect", thing))[0]
    return found


def programs_with_rights(docker: Bed, name: str) -> str:
    """Return the files of an image that give whoever runs them the rights of another."""
    find = "find / -xdev -perm /6000 -type f | sort"
    return docker("run", "--rm", "--user=0", "--entrypoint=sh", name, "-c", find)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_says_what_it_is_and_gives_nobody_rights(docker: Bed, name: str) -> None:
    config = inspected(docker, image(name))["Config"]
    labels = {k.rpartition(".")[2]: v for k, v in config["Labels"].items()}
    assert config["User"] == "10001:10001"
    assert (labels["version"], labels["revision"]) == ("1.2.3", REVISION)
    assert labels["licenses"] == "Apache-2.0"
    assert programs_with_rights(docker, image(name)) == programs_with_rights(docker, BASE)
    history = docker("history", "--no-trunc", "--format={{.CreatedBy}}", image(name))
    assert not re.search(r"(?i)index-url|token|password|://[^/ ]*@", history)
    look = ["--entrypoint=sh", image(name), "-c", "ls /etc/pip.conf /source /build /root/.cache"]
    assert docker.attempt("run", "--rm", "--user=0", *look).stdout == b""


def test_the_exporter_is_small_and_has_no_engine(docker: Bed) -> None:
    packed = docker.attempt("save", image("exporter")).stdout
    # A registry compresses harder than this: python -m bench.images prints what is left then.
    assert len(gzip.compress(packed, compresslevel=1, mtime=0)) <= LIMIT_BYTES < len(packed)
    names = installed(docker, "exporter")
    assert "wattshed" in names
    assert not names & {"chdb", "chdb-core", "aiohttp", "numpy", "pip"}


def installed(docker: Bed, name: str) -> set[str]:
    """Return the Python packages that an image can import."""
    code = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
    run = ["run", "--rm", "--entrypoint=/opt/wattshed/bin/python", image(name), "-c", code]
    return {word.lower() for word in docker(*run).split()}


def test_the_list_of_materials_is_valid_and_complete(docker: Bed, tmp_path: Path) -> None:
    output = f"--output=type=local,dest={tmp_path}"
    docker.build(ROOT, "--file=exporter/Dockerfile", "--target=sbom", output)
    text = (tmp_path / "exporter.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    said = json.loads(text)
    components = {c["name"].lower(): c for c in said["components"]}
    assert installed(docker, "exporter") <= set(components)
    assert components["libc6"]["purl"].startswith("pkg:deb/debian/libc6@")
    assert components["cpython"]["version"].startswith("3.13.")
    assert said["metadata"]["component"]["name"] == "wattshed/exporter"


@pytest.fixture
def network(docker: Bed) -> Iterator[str]:
    """A network for containers; what is on it goes with the test."""
    docker("network", "create", "wattshed")
    yield "wattshed"
    for container in docker("ps", "-aq").split():
        docker("rm", "-f", "-v", container)
    docker("network", "rm", "wattshed")


def start(docker: Bed, name: str, network: str, *options: str) -> str:
    """Start a container of ours, locked down, and return the address of its port."""
    port = {"exporter": 9741, "collector": 9740}[name]
    docker(
        "run", "--detach", f"--name={name}", f"--network={network}", *LOCKED, *OFTEN,
        f"--publish=127.0.0.1::{port}", *options, image(name),
    )  # fmt: skip
    return "http://" + docker("port", name, str(port))


def get(url: str, token: str = "") -> str:
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        body: bytes = answer.read()
    return body.decode()


def health(docker: Bed, name: str) -> str:
    state: str = inspected(docker, name)["State"]["Health"]["Status"]
    return state


def ended(docker: Bed, name: str) -> tuple[int, bool]:
    """Stop a container as Docker does; return its status, and whether it was killed."""
    docker("stop", name)
    state = inspected(docker, name)["State"]
    return int(state["ExitCode"]), bool(state["OOMKilled"]) or state["ExitCode"] == 137


def test_the_exporter_runs_locked_down_and_ends_well(docker: Bed, network: str) -> None:
    url = start(docker, "exporter", network, *MEASURES)
    until(lambda: health(docker, "exporter") == "healthy")
    until(lambda: "\nwattshed_energy_joules_total{" in get(f"{url}/metrics"))
    assert docker("exec", "exporter", "id", "-u") == "10001"
    touch = docker.attempt("exec", "exporter", "touch", "/opt/wattshed/x")
    assert b"Read-only file system" in touch.stderr
    assert ended(docker, "exporter") == (0, False)


def test_health_is_told_where_nothing_can_be_read(docker: Bed, network: str) -> None:
    start(docker, "exporter", network, "--health-retries=1", "-e", "WATTSHED_SOURCES=ipmi")
    until(lambda: health(docker, "exporter") == "unhealthy")


def test_a_collector_that_is_not_told_who_may_what_says_so_and_ends(docker: Bed) -> None:
    run = docker.attempt("run", "--rm", *LOCKED, image("collector"))
    assert run.returncode == 2
    assert b"security.file" in run.stderr


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The folder /etc/wattshed of a collector, which only it may read."""
    (tmp_path / "ingest.token").write_text("i" * 43)
    (tmp_path / "read.token").write_text("r" * 43)
    (tmp_path / "security.yaml").write_text(
        "tokens:\n"
        "  - {name: exporters, file: ingest.token, roles: [ingest]}\n"
        "  - {name: people, file: read.token, roles: [read]}\n"
    )
    for path in (tmp_path, *tmp_path.iterdir()):
        os.chown(path, 10001, 10001)
        path.chmod(0o700 if path.is_dir() else 0o600)
    return tmp_path


def joules(url: str, until: datetime) -> float:
    """Return what all machines drew in the day before an instant, as the collector reports it."""
    since, end = ((until - timedelta(days=days)).strftime("%Y-%m-%dT%H:%MZ") for days in (1, 0))
    said = json.loads(get(f"{url}/v1/energy?by=node&since={since}&until={end}", "r" * 43))
    return sum(float(row["joules"]) for row in said["rows"])


def test_what_was_pushed_is_still_there_after_a_restart(
    docker: Bed, network: str, rules: Path
) -> None:
    url = start(
        docker, "collector", network, f"--volume={rules}:/etc/wattshed:ro",
        "--volume=facts:/var/lib/wattshed", "--stop-timeout=30",
        "-e", "WATTSHED_COLLECTOR_SECURITY_FILE=/etc/wattshed/security.yaml",
    )  # fmt: skip
    until(lambda: health(docker, "collector") == "healthy")
    push = (
        "-e",
        "WATTSHED_OTLP_ENDPOINT=http://collector:9740",
        "-e",
        f"WATTSHED_OTLP_TOKEN={'i' * 43}",
    )
    start(docker, "exporter", network, *MEASURES, *push)
    soon = datetime.now(UTC) + timedelta(minutes=5)
    until(lambda: joules(url, soon) > 0)
    assert ended(docker, "exporter") == (0, False)
    assert ended(docker, "collector") == (0, False)

    docker("start", "collector")
    again = "http://" + docker("port", "collector", "9740")
    until(lambda: health(docker, "collector") == "healthy")
    assert joules(again, soon) > 0
    assert docker("exec", "collector", "id", "-u") == "10001"
