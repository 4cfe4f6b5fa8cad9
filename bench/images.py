"""Print what the images weigh and how soon they serve.

Builds both with the Docker engine that ``docker`` reaches, or with one of its own (``--own``, as
the tests do: root, on Debian), and starts each a few times as an operator would, locked down. A
start is timed from ``docker run`` to the first answer that counts: /metrics with energy for the
exporter, /readyz for the collector, and to the state ``healthy`` with a check each second.
``--twice`` builds again without any cache and tells whether the layers are the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fixtures.debian import BASE
from tests.fixtures.engine import bed

ROOT = Path(__file__).parents[1]
LOCKED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Image:
    """One of ours: how it is run, and which answer says that it serves."""

    name: str
    port: int
    path: str
    sign: str
    environment: tuple[str, ...]

    @property
    def tag(self) -> str:
        return f"ghcr.io/wattshed/{self.name}:bench"


EXPORTER = Image(
    "exporter", 9741, "/metrics", "\nwattshed_energy_joules_total{",
    ("WATTSHED_SOURCES=simulate", "WATTSHED_SIMULATE_HISTORY_HOURS=0"),
)  # fmt: skip
COLLECTOR = Image(
    "collector", 9740, "/readyz", "\n", ("WATTSHED_COLLECTOR_SECURITY_ANONYMOUS=true",)
)


class Engine:
    """What ``docker`` reaches, by the environment that names it."""

    def __init__(self, environment: Mapping[str, str], build: Sequence[str]) -> None:
        self._environment, self._build = environment, build

    def __call__(self, *command: str) -> str:
        done = subprocess.run(
            ["docker", *command], env=self._environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def build(self, image: Image, *options: str) -> list[str]:
        """Build an image; return the digests of its layers unpacked."""
        command = (*self._build, f"--file={image.name}/Dockerfile", f"--tag={image.tag}")
        self(*command, *options, str(ROOT))
        found: list[str] = json.loads(self("image", "inspect", image.tag))[0]["RootFS"]["Layers"]
        return found

    def weight(self, tag: str) -> tuple[float, float]:
        """Return the megabytes of an image as a registry keeps it (gzip) and unpacked."""
        sizes = []
        for packer in ("gzip", "cat"):
            count = ["sh", "-c", f"docker save {tag} | {packer} | wc -c"]
            said = subprocess.run(count, env=self._environment, capture_output=True, check=True)
            sizes.append(int(said.stdout) / 1e6)
        return sizes[0], sizes[1]


@contextmanager
def engine(own: bool) -> Iterator[Engine]:
    """Yield an engine: the one that there is, or one of its own."""
    if not own:
        yield Engine(os.environ, ("buildx", "build"))
        return
    with bed() as made:
        yield Engine(made.environment, made.building())


def start_seconds(docker: Engine, image: Image) -> tuple[float, float]:
    """Run an image; return the seconds until its answer and until it is healthy."""
    told = [word for pair in image.environment for word in ("--env", pair)]
    began = time.monotonic()
    container = docker(
        "run", "--detach", *LOCKED, "--health-interval=1s", *told,
        f"--publish=127.0.0.1::{image.port}", image.tag,
    )  # fmt: skip
    try:
        url = "http://" + docker("port", container, str(image.port)) + image.path
        wait(lambda: image.sign in page(url))
        answered = time.monotonic() - began
        wait(lambda: docker("inspect", "-f", "{{.State.Health.Status}}", container) == "healthy")
        return answered, time.monotonic() - began
    finally:
        docker("rm", "--force", "--volumes", container)


def page(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            body: bytes = answer.read()
    except OSError:
        return ""
    return "\n" + body.decode()


def wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > end:
            raise SystemExit("it does not start")
        time.sleep(0.02)


def row(*cells: object) -> None:
    print("".join(f"{cell!s:<16}" for cell in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--own", action="store_true", help="start a dockerd for this")
    parser.add_argument("--twice", action="store_true", help="build again without any cache")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=("exporter", "collector"))
    asked = parser.parse_args()
    chosen = [image for image in (EXPORTER, COLLECTOR) if asked.only in (None, image.name)]
    with engine(asked.own) as docker:
        row("image", "registry MB", "unpacked MB", "answers s", "healthy s")
        row(BASE, *(f"{size:.1f}" for size in docker.weight(BASE)))
        for image in chosen:
            first = docker.build(image)
            started = [start_seconds(docker, image) for _ in range(asked.runs)]
            medians = (statistics.median(times) for times in zip(*started, strict=True))
            row(
                image.name,
                *(f"{x:.1f}" for x in docker.weight(image.tag)),
                *(f"{x:.2f}" for x in medians),
            )
            if asked.twice:
                same = docker.build(image, "--no-cache") == first
                print(f"{image.name} built again: layers are {'the same' if same else 'OTHERS'}")


if __name__ == "__main__":
    main()
