"""Grafana's data source: what it asks and what it shows of itself, for every kind of store."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml
from helm_python import Config, HelmError
from tests.fixtures.kube_server import Cluster
from tests.helm import crds
from tests.helm.chart import CHART, Manifest, one, render

from wattshed_dashboards import provisioning

Json = dict[str, Any]
SECRET = "w-wattshed-grafana-datasource"
FROM_ENVIRONMENT = {"enabled": True, "passwordVariable": "WATTSHED_GRAFANA_TOKEN"}
SERVER: Json = {
    "mode": "external",
    "database": "energy",
    "auth": {"existingSecret": "users"},
    "external": {"hosts": ["ch-0.example", "ch-1.example"]},
}


def decoded(secret: Manifest) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def provisioned(objects: list[Manifest]) -> Json:
    """Return the data source of the sidecar's Secret."""
    (text,) = decoded(one(objects, "Secret", SECRET)).values()
    document = yaml.safe_load(text)
    assert document["apiVersion"] == 1
    (source,) = document["datasources"]
    return dict(source)


def source(own: Json, **more: Any) -> Json:
    return provisioned(render({"grafana": {"datasource": own}, **more}))


def operated(own: Json, plugin: str = "", **more: Any) -> Json:
    """Return the spec of the GrafanaDatasource, which its CRD takes."""
    operator = {"enabled": True, "pluginVersion": plugin}
    values = {"grafana": {"datasource": {**own, "operator": operator}}, **more}
    made = one(render(values), "GrafanaDatasource", SECRET)
    crds.check(made)
    return dict(made["spec"])


def test_it_asks_the_collector_with_the_token_that_the_chart_made_for_readers() -> None:
    objects = render({"grafana": {"datasource": {"enabled": True}}})
    tokens = decoded(one(objects, "Secret", "w-wattshed-tokens"))
    host = "w-wattshed-collector.energy.svc"
    wanted = provisioning.datasource(host, 9740, token=tokens["read"])
    assert provisioned(objects) == {**wanted, "orgId": 1, "editable": False, "isDefault": False}
    assert one(objects, "Secret", SECRET)["metadata"]["labels"]["grafana_datasource"] == "1"


@pytest.mark.parametrize("mode", ["altinity", "operator"])
def test_it_asks_the_operators_server_as_its_own_user(mode: str) -> None:
    values = {"clickhouse": {"mode": mode}, "grafana": {"datasource": {"enabled": True}}}
    objects = render(values)
    made = provisioned(objects)
    passwords = decoded(one(objects, "Secret", "w-wattshed-clickhouse"))
    assert made["secureJsonData"] == {"password": passwords["grafana"]}
    settings = made["jsonData"]
    assert (settings["username"], settings["defaultDatabase"]) == ("wattshed_grafana", "wattshed")
    assert (settings["port"], settings["path"], settings["secure"]) == (8123, "", False)
    assert settings["host"].endswith(".energy.svc.cluster.local")


@pytest.mark.parametrize(
    ("external", "host", "port", "secure", "skips"),
    [
        ({}, "ch-0.example", 8123, False, None),
        ({"secure": True}, "ch-0.example", 8443, True, None),
        ({"hosts": ["ch:9999"]}, "ch", 9999, False, None),
        ({"secure": True, "verify": False}, "ch-0.example", 8443, True, True),
    ],
)
def test_it_asks_a_server_that_is_there(
    external: Json, host: str, port: int, secure: bool, skips: bool | None
) -> None:
    server = {**SERVER, "external": {**SERVER["external"], **external}}
    made = source(FROM_ENVIRONMENT, clickhouse=server)
    settings = made["jsonData"]
    assert (settings["host"], settings["port"], settings["secure"]) == (host, port, secure)
    assert (settings["username"], settings["defaultDatabase"]) == ("wattshed_grafana", "energy")
    assert settings.get("tlsSkipVerify") is skips
    assert made["secureJsonData"] == {"password": "$WATTSHED_GRAFANA_TOKEN"}


def test_what_is_said_comes_before_what_is_known() -> None:
    own = {
        **FROM_ENVIRONMENT,
        "name": "Energy",
        "uid": "energy",
        "isDefault": True,
        "url": "https://watts.example.org/prefix/clickhouse/",
        "database": "other",
        "username": "ada",
        "queryTimeout": 30,
        "jsonData": {"tlsSkipVerify": True, "protocol": "http"},
    }
    made = source(own)
    assert (made["name"], made["uid"], made["isDefault"]) == ("Energy", "energy", True)
    assert made["jsonData"] == {
        "protocol": "http",
        "host": "watts.example.org",
        "port": 443,
        "path": "/prefix/clickhouse",
        "secure": True,
        "username": "ada",
        "defaultDatabase": "other",
        "queryTimeout": "30",
        "enableMapKeysDiscovery": False,
        "tlsSkipVerify": True,
    }


def test_an_authority_of_ones_own_is_told_to_grafana() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    own = {**FROM_ENVIRONMENT, "caCertificate": pem}
    for made in (source(own), operated(own)["datasource"]):
        assert made["jsonData"]["tlsAuthWithCACert"] is True
        assert made["secureJsonData"]["tlsCACert"] == pem


@pytest.mark.parametrize(
    "values",
    [
        {"grafana": {"datasource": {"enabled": True, "existingSecret": "mine"}}},
        {
            "grafana": {"datasource": {"enabled": True}},
            "collector": {"tokens": {"existingSecret": "t"}},
        },
        {"grafana": {"datasource": {"enabled": True}}, "clickhouse": SERVER},
    ],
)
def test_a_password_that_cannot_be_read_is_never_left_out(values: Json) -> None:
    with pytest.raises(HelmError, match=r"cannot be read here.*passwordVariable"):
        render(values)


def test_without_a_collector_it_must_be_said_what_is_asked() -> None:
    alone: Json = {
        "collector": {"enabled": False},
        "exporter": {"otlp": {"endpoint": "https://elsewhere.example"}},
    }
    with pytest.raises(HelmError, match="without a collector in this release"):
        source({"enabled": True}, **alone)
    url = "https://elsewhere.example/clickhouse"
    assert source({**FROM_ENVIRONMENT, "url": url}, **alone)["jsonData"]["port"] == 443


def test_grafana_operator_reads_the_password_from_its_secret() -> None:
    spec = operated({})
    assert spec["uid"] == "wattshed-clickhouse"
    assert spec["datasource"]["secureJsonData"] == {"password": "${read}"}
    (password,) = spec["valuesFrom"]
    assert password["valueFrom"]["secretKeyRef"] == {"name": "w-wattshed-tokens", "key": "read"}
    host = "w-wattshed-collector.energy.svc"
    assert spec["datasource"]["jsonData"] == provisioning.datasource(host)["jsonData"]
    assert "plugins" not in spec
    spec = operated({}, "4.20.0")
    assert spec["plugins"] == [{"name": "grafana-clickhouse-datasource", "version": "4.20.0"}]


def test_grafana_operator_takes_any_secret_without_reading_it_here() -> None:
    own = {"existingSecret": "mine", "key": "password"}
    spec = operated(own, clickhouse=SERVER)
    assert spec["datasource"]["secureJsonData"] == {"password": "${password}"}
    assert spec["valuesFrom"][0]["valueFrom"]["secretKeyRef"]["name"] == "mine"
    spec = operated({}, clickhouse=SERVER)
    reference = spec["valuesFrom"][0]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "users", "key": "grafana"}


def kept(cluster: Cluster, name: str) -> dict[str, str]:
    """Return what a Secret of the cluster holds."""
    found = cluster.find("Secret", "energy", name)
    assert found is not None, name
    return decoded(found)


def test_the_password_is_the_token_in_force_after_every_upgrade(
    cluster: Cluster, helm: Config
) -> None:
    values = {"exporter": {"enabled": False}, "grafana": {"datasource": {"enabled": True}}}
    helm.install(str(CHART), "w", values, wait="watcher", timeout=20)
    token = kept(cluster, "w-wattshed-tokens")["read"]
    for _ in range(2):
        (text,) = kept(cluster, SECRET).values()
        (made,) = yaml.safe_load(text)["datasources"]
        assert made["secureJsonData"] == {"password": token}
        helm.upgrade(str(CHART), "w", values, wait="watcher", timeout=20)
        assert kept(cluster, "w-wattshed-tokens")["read"] == token


def test_a_password_of_somebody_elses_secret_is_copied_and_no_variable_of_grafana(
    cluster: Cluster, helm: Config
) -> None:
    own = {"enabled": True, "existingSecret": "mine", "key": "password"}
    values = {"exporter": {"enabled": False}, "grafana": {"datasource": own}}
    with pytest.raises(HelmError, match="the Secret mine with the key password cannot be read"):
        helm.install(str(CHART), "w", values, wait="watcher", timeout=20)
    manifest: Json = {"apiVersion": "v1", "kind": "Secret", "metadata": {}}
    manifest["stringData"] = {"password": "pa$HOME"}
    cluster.store.create(cluster.key("Secret", "mine", "energy"), manifest)
    helm.install(str(CHART), "w", values, wait="watcher", timeout=20)
    (text,) = kept(cluster, SECRET).values()
    (made,) = yaml.safe_load(text)["datasources"]
    assert made["secureJsonData"] == {"password": "pa$$HOME"}
