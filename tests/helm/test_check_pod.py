"""The pod of ``helm test``: where there is one, and what it is told."""

from __future__ import annotations

from typing import Any

import pytest
from tests.helm.chart import Manifest, one, render

Json = dict[str, Any]
NO_EXPORTERS: Json = {"exporter": {"enabled": False}}
TLS: Json = {"enabled": True, "existingSecret": "energy-tls"}


def pod(values: Json) -> Manifest:
    return one(render(values), "Pod", "w-wattshed-test")


def environ(values: Json) -> dict[str, str]:
    return {e["name"]: e["value"] for e in pod(values)["spec"]["containers"][0]["env"]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [({}, "true"), (NO_EXPORTERS, "false"), ({"tests": {"readings": False}}, "false")],
)
def test_readings_are_expected_of_own_exporters(values: Json, expected: str) -> None:
    assert environ(values)["WATTSHED_READINGS"] == expected


def test_it_trusts_the_authority_of_the_collector() -> None:
    values = {"collector": {"tls": TLS}}
    told = environ(values)
    assert told["WATTSHED_URL"] == "https://w-wattshed-collector.energy.svc:9740"
    assert told["WATTSHED_CA_FILE"] == "/etc/wattshed/tls/ca.crt"
    (tls,) = (v for v in pod(values)["spec"]["volumes"] if v["name"] == "tls")
    assert tls["secret"]["secretName"] == "energy-tls"


def test_it_shows_the_tokens_that_it_is_given() -> None:
    mine = {"existingSecret": "mine", "readKey": "a", "metricsKey": "b"}
    (tokens,) = pod({"tests": {"tokens": mine}})["spec"]["volumes"]
    assert tokens["secret"]["secretName"] == "mine"
    assert tokens["secret"]["items"] == [
        {"key": "a", "path": "read"},
        {"key": "b", "path": "metrics"},
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"tests": {"enabled": False}},
        {
            "collector": {"enabled": False},
            "exporter": {"otlp": {"endpoint": "https://c", "token": {"existingSecret": "t"}}},
        },
        {"collector": {"tls": TLS | {"clientCaKey": "ca.crt", "clientCertificates": "required"}}},
    ],
)
def test_there_is_none_where_it_could_not_work(values: Json) -> None:
    assert not [o for o in render(values) if o["kind"] == "Pod"]
