"""What the pages on installing and upgrading say is what the chart takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from tests.fixtures.kube_server.schemas import Schemas
from tests.helm.chart import CHART, one, render

from wattshed_exporter import __version__

Json = dict[str, Any]
DOCS = CHART.parents[1] / "docs"
PAGES = ("INSTALL-KUBERNETES.md", "UPGRADING.md")
# Values of other charts are not ours to check.
OTHERS = ("# kube-prometheus-stack",)
BLOCKS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    )
    if not block.startswith(OTHERS)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_what_the_pages_show_is_taken(block: str, schemas: Callable[[str], Schemas]) -> None:
    told: Json = yaml.safe_load(block)
    if "kind" in told:
        assert schemas("1.34").problems(told) == []
    else:
        assert render(told)


def test_the_pools_of_the_pages_run_where_they_say() -> None:
    """Helm merges maps, so that a label of the chart's own counts unless it is null."""
    looked = 0
    for parameter in BLOCKS:
        told = yaml.safe_load(str(parameter.values[0]))
        for name, pool in told.get("exporter", {}).get("pools", {}).items():
            if "nodeSelector" in pool:
                made = one(render(told), "DaemonSet", f"w-wattshed-exporter-{name}")
                said = {k: v for k, v in pool["nodeSelector"].items() if v is not None}
                chosen = made["spec"]["template"]["spec"]["nodeSelector"]
                assert chosen == {"kubernetes.io/os": "linux"} | said
                looked += 1
    assert looked >= 3


def test_there_are_blocks() -> None:
    assert len(BLOCKS) > 12


def test_values_that_the_pages_name_are_there() -> None:
    """In back quotes: ``collector.persistence.size`` and the like, of the chart's sections."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    named = {
        name
        for page in PAGES
        for name in re.findall(
            r"`([a-z]+(?:\.[A-Za-z_]+)+)(?:: [^`]*)?`", (DOCS / page).read_text()
        )
        if name.partition(".")[0] in values
    }
    assert len(named) >= 10
    assert [name for name in sorted(named) if not _is_there(values, name.split("."))] == []


def test_images_in_the_pages_are_of_this_version() -> None:
    text = "".join(page.read_text() for page in DOCS.glob("*.md"))
    tags = re.findall(r"ghcr\.io/wattshed/\w+:(\d[\d.]*\d)", text)
    assert len(tags) >= 6
    assert set(tags) == {__version__}


def _is_there(values: Any, path: list[str]) -> bool:
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def test_the_names_in_the_commands_are_those_of_the_release() -> None:
    made = {
        (o["kind"].lower(), o["metadata"]["name"])
        for o in render({}, name="wattshed")
        + render(yaml.safe_load((CHART / "ci/external-values.yaml").read_text()), name="wattshed")
    }
    text = "".join((DOCS / page).read_text() for page in PAGES)
    for kind, name in re.findall(r"\b(secret|service|job|statefulset)[ /](wattshed[\w-]*)", text):
        assert (kind, name) in made
    assert re.findall(r"pvc (data-[\w-]+)", text) == ["data-wattshed-collector-0"]
