"""ServiceMonitors and PodMonitors: what Prometheus is told to scrape, and how."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from helm_python import HelmError
from tests.helm import crds
from tests.helm.chart import CHART, Manifest, one, render

Json = dict[str, Any]
KINDS = {"serviceMonitor": "ServiceMonitor", "podMonitor": "PodMonitor"}
ENDPOINTS = {"serviceMonitor": "endpoints", "podMonitor": "podMetricsEndpoints"}
EVERYTHING: Json = {
    "additionalLabels": {"release": "monitoring"},
    "annotations": {"why": "power"},
    "jobLabel": "app.kubernetes.io/name",
    "podTargetLabels": ["pool"],
    "attachMetadata": {"node": True},
    "interval": "30s",
    "scrapeTimeout": "10s",
    "honorLabels": False,
    "relabelings": [{"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "on"}],
    "metricRelabelings": [{"action": "drop", "regex": "go_.*", "sourceLabels": ["__name__"]}],
    "sampleLimit": 2_000_000,
    "targetLimit": 5000,
    "labelLimit": 40,
    "labelNameLengthLimit": 100,
    "labelValueLengthLimit": 400,
    "keepDroppedTargets": 10,
    "bodySizeLimit": "64MiB",
}
SCHEMA = jsonschema.Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
TLS: Json = {"ca": {"secret": {"name": "ca", "key": "ca.crt"}}, "serverName": "energy"}


def monitor(section: str, component: str, values: Json) -> Manifest:
    """Render one monitor that its CRD takes."""
    own = {"enabled": True, **values.pop(component, {})}
    objects = render({section: {component: own, **values}})
    made = one(objects, KINDS[section], f"w-wattshed-{component}")
    crds.check(made)
    return made


def endpoint(section: str, component: str, **own: Any) -> Json:
    spec = monitor(section, component, {component: own})["spec"]
    (found,) = spec[ENDPOINTS[section]]
    return dict(found)


@pytest.mark.parametrize("component", ["collector", "exporter"])
@pytest.mark.parametrize("section", KINDS)
def test_all_that_an_operator_may_want_arrives(section: str, component: str) -> None:
    labels = {"release": "monitoring", "app.kubernetes.io/part-of": "energy"}
    values = {**EVERYTHING, "additionalLabels": labels, component: {"tlsConfig": TLS}}
    made = monitor(section, component, values)
    spec = made["spec"]
    (asked,) = spec[ENDPOINTS[section]]
    assert labels.items() <= made["metadata"]["labels"].items()
    assert made["metadata"]["annotations"] == {"why": "power"}
    for key in EVERYTHING.keys() - {"additionalLabels", "annotations"}:
        assert EVERYTHING[key] == {**spec, **asked}[key]
    assert asked["tlsConfig"] == TLS
    assert spec["selector"]["matchLabels"]["app.kubernetes.io/component"] == component


@pytest.mark.parametrize("section", KINDS)
def test_what_is_not_said_is_left_to_prometheus(section: str) -> None:
    made = monitor(section, "exporter", {})
    (asked,) = made["spec"].pop(ENDPOINTS[section])
    assert asked == {"port": "metrics", "path": "/metrics", "scheme": "http", "honorLabels": True}
    assert made["spec"].keys() == {"namespaceSelector", "selector"}
    assert "release" not in made["metadata"]["labels"]


def test_a_service_gives_labels_to_its_series() -> None:
    made = monitor("serviceMonitor", "collector", {"targetLabels": ["team"]})
    assert made["spec"]["targetLabels"] == ["team"]


def test_a_component_may_be_scraped_otherwise_than_the_others() -> None:
    both = {
        "interval": "1m",
        "scrapeTimeout": "20s",
        "collector": {"enabled": True},
        "exporter": {"enabled": True, "interval": "5s", "scrapeTimeout": "2s"},
    }
    objects = render({"podMonitor": both})
    monitors = [o for o in objects if o["kind"] == "PodMonitor"]
    told = {m["metadata"]["name"]: m["spec"]["podMetricsEndpoints"][0] for m in monitors}
    assert {name: asked["interval"] for name, asked in told.items()} == {
        "w-wattshed-collector": "1m",
        "w-wattshed-exporter": "5s",
    }


@pytest.mark.parametrize("section", KINDS)
def test_the_collector_is_shown_the_token_for_metrics(section: str) -> None:
    shown = endpoint(section, "collector")["authorization"]
    assert shown == {
        "type": "Bearer",
        "credentials": {"name": "w-wattshed-tokens", "key": "metrics"},
    }
    own = {"existingSecret": "mine", "key": "token"}
    shown = endpoint(section, "collector", token=own)["authorization"]
    assert shown["credentials"] == {"name": "mine", "key": "token"}
    assert "authorization" not in endpoint(section, "collector", token={"enabled": False})


@pytest.mark.parametrize(
    ("namespace", "authority"),
    [("", {"secret": {"name": "cert", "key": "ca.crt"}}), ("monitoring", None)],
)
def test_a_collector_with_a_certificate_is_scraped_by_the_name_in_it(
    namespace: str, authority: Json | None
) -> None:
    tls = {"enabled": True, "existingSecret": "cert"}
    own = {"enabled": True, "token": {"existingSecret": "token"}}
    values = {"podMonitor": {"namespace": namespace, "collector": own}, "collector": {"tls": tls}}
    made = one(render(values), "PodMonitor", "w-wattshed-collector")
    crds.check(made)
    (asked,) = made["spec"]["podMetricsEndpoints"]
    assert asked["scheme"] == "https"
    assert asked["tlsConfig"].pop("serverName") == "w-wattshed-collector.energy.svc"
    assert asked["tlsConfig"] == ({"ca": authority} if authority else {})


def test_exporters_are_shown_a_user_of_their_web_configuration() -> None:
    asked = endpoint(
        "podMonitor", "exporter", scheme="https", basicAuth={"existingSecret": "scraper"}
    )
    assert (asked["scheme"], asked["basicAuth"]) == (
        "https",
        {
            "username": {"name": "scraper", "key": "username"},
            "password": {"name": "scraper", "key": "password"},
        },
    )


def test_a_monitor_elsewhere_looks_into_the_release_and_needs_a_secret_there() -> None:
    apart = {"namespace": "monitoring", "collector": {"enabled": True}}
    with pytest.raises(HelmError, match=r"name it in collector\.token\.existingSecret"):
        render({"serviceMonitor": apart})
    apart["collector"] = {"token": {"existingSecret": "energy-token"}}
    made = monitor("serviceMonitor", "collector", apart)
    assert made["metadata"]["namespace"] == "monitoring"
    assert made["spec"]["namespaceSelector"] == {"matchNames": ["energy"]}
    render({"podMonitor": {"namespace": "monitoring", "exporter": {"enabled": True}}})


@pytest.mark.parametrize(
    ("component", "collector", "exporter", "said"),
    [
        ("collector", {"enabled": False}, {}, "collector.enabled is false: there is nothing"),
        ("exporter", {}, {"enabled": False}, "exporter.enabled is false: there is nothing"),
        ("exporter", {}, {"service": {"enabled": False}}, "needs exporter.service.enabled"),
    ],
)
def test_what_is_not_there_is_not_scraped(
    component: str, collector: Json, exporter: Json, said: str
) -> None:
    exporter = {"otlp": {"endpoint": "https://elsewhere.example"}, **exporter}
    monitors = {"serviceMonitor": {component: {"enabled": True}}}
    with pytest.raises(HelmError, match=said):
        render({"collector": collector, "exporter": exporter, **monitors})


@pytest.mark.parametrize("component", ["collector", "exporter"])
def test_nothing_is_scraped_twice(component: str) -> None:
    on = {component: {"enabled": True}}
    with pytest.raises(HelmError, match=rf"serviceMonitor\.{component} and podMonitor"):
        render({"serviceMonitor": on, "podMonitor": on})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"interval": "half a minute"}, "does not match"),
        ({"bodySizeLimit": "32 MB"}, "does not match"),
        ({"sampleLimit": -1}, "minimum"),
        ({"intervals": "30s"}, "'intervals' was unexpected"),
        ({"exporter": {"tlsConfig": {"caCert": {}}}}, "'caCert' was unexpected"),
        ({"exporter": {"scheme": "ftp"}}, "is not one of"),
    ],
)
@pytest.mark.parametrize("section", KINDS)
def test_what_no_operator_would_take_is_refused(section: str, values: Json, said: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=said):
        SCHEMA.validate({section: values})
    SCHEMA.validate({section: EVERYTHING})


def test_without_being_asked_the_chart_makes_no_object_of_an_operator() -> None:
    kinds = {kind for _, kind in crds.SPECS}
    assert not [o for o in render() if o["kind"] in kinds]
