"""The boards in the chart are the files of dashboards/grafana, a ConfigMap each."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Chart, HelmError
from tests.helm import crds
from tests.helm.chart import CHART, Manifest, one, render

from wattshed_dashboards import files
from wattshed_dashboards.alerts.wording import COLLECTOR_URL
from wattshed_dashboards.boards import BOARDS

Json = dict[str, Any]
MEBIBYTE = 1 << 20
"""What a ConfigMap may hold, and a Secret, in which Helm keeps a release."""
UIDS = {board.uid for board in BOARDS}
EVERYTHING: Json = {
    "serviceMonitor": {"collector": {"enabled": True}},
    "podMonitor": {"exporter": {"enabled": True}},
    "alerts": {"enabled": True},
    "dashboards": {"enabled": True, "operator": {"enabled": True}},
    "grafana": {
        "alerts": {"enabled": True, "operator": {"enabled": True}},
        "datasource": {"enabled": True, "operator": {"enabled": True}},
    },
}


def boards(values: Json, **more: Any) -> dict[str, Manifest]:
    """Return the boards' ConfigMaps by uid."""
    found = {}
    for made in render({"dashboards": values, **more}):
        if made["kind"] == "ConfigMap" and "-board-" in made["metadata"]["name"]:
            (name,) = made["data"]
            found[name.removesuffix(".json")] = made
    return found


def operated(values: Json) -> dict[str, Manifest]:
    """Return the GrafanaDashboards by the key that they read, each as its CRD takes it."""
    found = {}
    for made in render({"dashboards": values}):
        if made["kind"] == "GrafanaDashboard":
            crds.check(made)
            found[made["spec"]["configMapRef"]["key"].removesuffix(".json")] = made
    return found


def test_each_board_is_a_config_map_that_the_sidecar_finds() -> None:
    found = boards({"enabled": True})
    assert found.keys() == UIDS
    for uid, made in found.items():
        assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert made["metadata"]["annotations"] == {"grafana_folder": "wattshed"}
        assert made["metadata"]["namespace"] == "energy"
        (text,) = made["data"].values()
        assert json.loads(text)["uid"] == uid
        assert len(text.encode()) < MEBIBYTE


def test_a_board_is_its_file_but_for_where_the_collector_is() -> None:
    url = "https://watts.example.org"
    for uid, made in boards({"enabled": True}, alerts={"url": url}).items():
        shipped = (files.root() / "grafana" / f"{uid}.json").read_text("utf-8")
        (text,) = made["data"].values()
        assert text == shipped.rstrip("\n").replace(f'"{COLLECTOR_URL}"', f'"{url}"')
        assert text.count(f'"{url}"') == 3
        constant = json.loads(text)["templating"]["list"][1]
        assert (constant["name"], constant["query"]) == ("collector", url)


@pytest.mark.parametrize(
    ("collector", "url"),
    [
        ({}, "http://w-wattshed-collector.energy.svc:9740"),
        ({"service": {"port": 80}}, "http://w-wattshed-collector.energy.svc:80"),
        (
            {"tls": {"enabled": True, "existingSecret": "cert"}},
            "https://w-wattshed-collector.energy.svc:9740",
        ),
        ({"ingress": {"enabled": True, "hosts": ["a.example", "b.example"]}}, "http://a.example"),
        (
            {
                "ingress": {
                    "enabled": True,
                    "hosts": ["a.example"],
                    "tls": [{"hosts": []}],
                    "path": "/w/",
                }
            },
            "https://a.example/w",
        ),
    ],
)
def test_links_lead_to_where_people_reach_the_collector(collector: Json, url: str) -> None:
    (text,) = boards({"enabled": True}, collector=collector)["wattshed-fleet"]["data"].values()
    assert text.count(f'"{url}"') == 3


def test_whoever_runs_the_sidecar_says_how_it_finds_them() -> None:
    found = boards(
        {
            "enabled": True,
            "namespace": "monitoring",
            "label": "boards",
            "labelValue": "yes",
            "folder": "Energy & power",
            "folderAnnotation": "k8s-sidecar-target-directory",
            "additionalLabels": {"a": "b"},
            "annotations": {"c": "d"},
            "exclude": ["wattshed-lifecycle", "wattshed-node"],
        },
        commonAnnotations={"from": "{{ .Release.Name }}"},
    )
    assert found.keys() == UIDS - {"wattshed-lifecycle", "wattshed-node"}
    metadata = found["wattshed-fleet"]["metadata"]
    assert metadata["namespace"] == "monitoring"
    assert {"boards": "yes", "a": "b"}.items() <= metadata["labels"].items()
    assert "grafana_dashboard" not in metadata["labels"]
    assert metadata["annotations"] == {
        "k8s-sidecar-target-directory": "Energy & power",
        "c": "d",
        "from": "w",
    }


def test_a_board_that_there_is_not_cannot_be_left_out() -> None:
    with pytest.raises(HelmError, match="there is no board wattshed-flet, but wattshed-fleet"):
        boards({"enabled": True, "exclude": ["wattshed-flet"]})


def test_grafana_operator_reads_the_same_config_maps() -> None:
    values = {
        "exclude": ["wattshed-node"],
        "folder": "Energy",
        "operator": {"enabled": True, "matchLabels": {"grafana": "main"}, "resyncPeriod": "1h"},
    }
    config_maps, made = boards(values), operated(values)
    assert made.keys() == config_maps.keys() == UIDS - {"wattshed-node"}
    folder = one(render({"dashboards": values}), "GrafanaFolder", "w-wattshed-folder")
    crds.check(folder)
    assert folder["spec"]["title"] == "Energy"
    for uid, board in made.items():
        assert board["spec"] == {
            "instanceSelector": {"matchLabels": {"grafana": "main"}},
            "allowCrossNamespaceImport": True,
            "resyncPeriod": "1h",
            "folderRef": "w-wattshed-folder",
            "configMapRef": {"name": config_maps[uid]["metadata"]["name"], "key": f"{uid}.json"},
        }
        assert "grafana_dashboard" not in config_maps[uid]["metadata"]["labels"]


def test_braces_of_a_board_are_no_template_of_helm(tmp_path: Path) -> None:
    shutil.copytree(CHART, tmp_path / "wattshed")
    text = '{"uid": "wattshed-x", "legendFormat": "{{ .Release.Name }} {{node}}"}'
    (tmp_path / "wattshed/files/dashboards/wattshed-x.json").write_text(text)
    with Chart.load(str(tmp_path / "wattshed")) as chart:
        made = chart.render({"dashboards": {"enabled": True}}, name="w", namespace="energy")
    (boards,) = (text for path, text in made.items() if path.endswith("/dashboards.yaml"))
    held = [m["data"] for m in yaml.load_all(boards, getattr(yaml, "CSafeLoader", yaml.SafeLoader))]
    assert {"wattshed-x.json": text} in held


def test_without_being_asked_the_chart_shows_no_board() -> None:
    assert not boards({})
    assert not operated({"enabled": True})


def test_names_stay_apart_and_short_whatever_the_release_is_called() -> None:
    names = [
        (made["kind"], made["metadata"]["name"])
        for made in render(EVERYTHING, name="a-release-with-a-name-of-very-nearly-fifty-three-c")
    ]
    assert len(set(names)) == len(names)
    assert max(len(name) for _, name in names) <= 63


def test_helm_can_keep_a_release_with_everything_in_it() -> None:
    def read(path: Path) -> Json:
        name = str(path.relative_to(CHART))
        return {"name": name, "data": base64.b64encode(path.read_bytes()).decode()}

    # Helm's storage: a Secret with the base64 of the packed JSON of chart, values and manifests.
    parts = [p for p in sorted(CHART.glob("**/*")) if p.is_file()]
    parts += sorted((CHART / "files" / "dashboards").resolve().glob("*.json"))
    with Chart.load(str(CHART)) as chart:
        made = chart.render(EVERYTHING, name="w", namespace="energy")
    held = [read(p) if p.is_relative_to(CHART) else _linked(p) for p in parts]
    document = {"chart": held, "config": EVERYTHING, "manifest": "\n---\n".join(made.values())}
    kept = base64.b64encode(gzip.compress(json.dumps(document).encode(), 9))
    assert len(kept) < MEBIBYTE / 2, "room for others that add to it"


def _linked(path: Path) -> Json:
    return {"name": path.name, "data": base64.b64encode(path.read_bytes()).decode()}


def test_a_chart_without_its_boards_says_so(tmp_path: Path) -> None:
    """A source distribution, or a clone on a system without symbolic links."""
    folder = tmp_path / "wattshed"
    shutil.copytree(CHART, folder)
    shutil.rmtree(folder / "files/dashboards")
    with Chart.load(str(folder)) as chart:
        assert chart.render({}, name="w", namespace="energy")
        with pytest.raises(HelmError, match="files/dashboards of this chart is empty"):
            chart.render({"dashboards": {"enabled": True}}, name="w", namespace="energy")
