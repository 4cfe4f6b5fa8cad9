"""The chart as an archive: complete by itself, and the same as its folder."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helm_python import Chart, package
from tests.helm.chart import CHART
from tests.helm.golden import GOLDEN, made

ROOT = CHART.parents[1]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(package(str(CHART), destination=str(tmp_path_factory.mktemp("package"))))


@pytest.fixture(scope="module")
def members(archive: Path) -> Iterator[dict[str, bytes]]:
    with tarfile.open(archive) as tar:
        found = {m.name: tar.extractfile(m) for m in tar.getmembers()}
        yield {name: stream.read() for name, stream in found.items() if stream}


def test_the_default_release_is_the_golden_one() -> None:
    """After a change that is meant: ``python -m tests.helm.golden``."""
    assert made() == GOLDEN.read_text()


def test_boards_are_in_it_as_files(members: dict[str, bytes]) -> None:
    boards = sorted((ROOT / "dashboards/grafana").rglob("*.json"))
    assert boards
    for board in boards:
        where = board.relative_to(ROOT / "dashboards/grafana")
        assert members[f"wattshed/files/dashboards/{where}"] == board.read_bytes()


def test_it_is_named_by_its_version(archive: Path) -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    assert archive.name == f"wattshed-{version}.tgz"


def test_it_makes_what_the_folder_makes(archive: Path) -> None:
    values = yaml.safe_load((CHART / "ci/kube-prometheus-stack-values.yaml").read_text())
    values["collector"] = {"tokens": {"existingSecret": "x"}}
    values["grafana"]["datasource"]["passwordVariable"] = "TOKEN"
    rendered = []
    for path in (archive, CHART):
        with Chart.load(str(path)) as chart:
            rendered.append(chart.render(values, name="w", namespace="energy"))
    assert rendered[0] == rendered[1]


def test_nothing_of_the_tests_is_in_it(members: dict[str, bytes]) -> None:
    """But for the script of ``helm test``."""
    assert not [name for name in members if name.startswith("wattshed/ci/")]
    assert "wattshed/files/tests/check.py" in members
