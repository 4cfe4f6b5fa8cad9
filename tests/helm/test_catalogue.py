"""What a catalogue and a user see of the chart: its description, its package and its notes."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from helm_python import Chart
from tests.helm.chart import CHART, render

Json = dict[str, Any]
DESCRIBED: Json = yaml.safe_load((CHART / "Chart.yaml").read_text())
QUIET: Json = {
    "serviceMonitor": {"collector": {"enabled": True}, "additionalLabels": {"release": "m"}},
    "alerts": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "dashboards": {"enabled": True},
    "exporter": {"pools": {"edge": {"enabled": True}}, "spool": {"type": "none"}},
    "collector": {"security": {"anonymous": ["read"]}},
}


def notes(values: Json | None = None) -> str:
    with Chart.load(str(CHART)) as chart:
        made = chart.render(values or {}, name="w", namespace="energy")
    return made["wattshed/templates/NOTES.txt"]


def test_the_catalogue_is_told_of_the_images_that_the_chart_runs() -> None:
    told = yaml.safe_load(DESCRIBED["annotations"]["artifacthub.io/images"])
    pods = [
        o["spec"]["template"]["spec"] for o in render() if o["kind"] in ("DaemonSet", "StatefulSet")
    ]
    run = {c["image"] for spec in pods for c in spec["containers"]}
    assert {each["image"] for each in told} == run
    assert DESCRIBED["version"] == DESCRIBED["appVersion"]


def test_what_the_catalogue_reads_is_yaml() -> None:
    annotations = DESCRIBED["annotations"]
    for change in yaml.safe_load(annotations["artifacthub.io/changes"]):
        assert change.keys() == {"kind", "description"}
        assert change["kind"] in {"added", "changed", "deprecated", "removed", "fixed", "security"}
    links = yaml.safe_load(annotations["artifacthub.io/links"])
    assert all(link["url"].startswith(DESCRIBED["home"]) for link in links)
    assert (CHART / DESCRIBED["icon"].rpartition("/")[2]).is_file()


def test_the_package_has_what_a_catalogue_shows(tmp_path: Path) -> None:
    path = helm_python.package(str(CHART), destination=str(tmp_path))
    with tarfile.open(path) as package:
        names = {name.removeprefix("wattshed/") for name in package.getnames()}
        licence = package.extractfile("wattshed/LICENSE")
        assert licence is not None
        assert b"Apache License" in licence.read()
    assert {"README.md", "values.schema.json"} <= names
    assert not any(name.endswith(".svg") for name in names)


def test_the_notes_say_what_to_do_next() -> None:
    said = notes()
    for line in (
        "kubectl -n energy port-forward service/w-wattshed-collector 9740:9740",
        "get secret w-wattshed-tokens -o jsonpath='{.data.read}' | base64 -d",
        "kubectl label namespace energy --overwrite pod-security.kubernetes.io/enforce=privileged",
        "EXPORTERS (gpu, node)",
        "alerts.enabled: ",
        "/var/lib/wattshed/energy-w-wattshed on each node",
    ):
        assert line in said
    assert "HAS NO LABEL" not in said


def test_the_notes_leave_out_what_is_done() -> None:
    said = notes(QUIET)
    for absent in (
        "base64",
        "networkPolicy",
        "dashboards.enabled",
        "pools.edge.enabled",
        "on each",
    ):
        assert absent not in said
    assert "Anybody may read." in said
    # Prometheus' operator would not see the alerts.
    assert "--set alerts.additionalLabels.release=" in said
    assert "--set serviceMonitor" not in said


@pytest.mark.parametrize(
    ("values", "absent"),
    [
        ({"exporter": {"enabled": False}}, "EXPORTERS"),
        (
            {
                "collector": {"enabled": False},
                "exporter": {"otlp": {"endpoint": "https://collector.example:9740"}},
            },
            "THE PAGE",
        ),
    ],
)
def test_the_notes_know_a_half(values: Json, absent: str) -> None:
    assert absent in notes()
    assert absent not in notes(values)


def test_of_what_is_off_exporters_alone_have_nothing() -> None:
    alone: Json = {"collector": {"enabled": False}, "exporter": {"otlp": {"endpoint": "https://c"}}}
    assert "alerts.enabled" not in notes(alone)
