"""What the plug-ins of plain hosts have in common: on a machine that has nothing they say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattshed_exporter.allocations import Meters, create
from wattshed_exporter.allocations.options import Allocations, Docker
from wattshed_exporter.config import Config, Roots
from wattshed_exporter.errors import NoData


@pytest.mark.parametrize("name", ["cgroup", "docker", "systemd", "static"])
def test_one_that_finds_nothing_says_so_and_can_be_closed_at_any_time(
    name: str, tmp_path: Path
) -> None:
    settings = Allocations(docker=Docker(socket=tmp_path / "docker.sock"))
    roots = Roots(procfs=tmp_path, sysfs=tmp_path, cgroupfs=tmp_path)
    allocator = create(name, Config(node="n", roots=roots, allocations=settings))
    assert allocator.name == name
    for _ in range(2):
        with pytest.raises(NoData):
            allocator.read(Meters(0))
        allocator.close()
        allocator.close()
