"""docker-compose.yml: what it promises on paper, and a start from a clone with stand-in images."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fixtures import debian
from tests.fixtures.compose import NOT_TO_BE_HAD, REPO, Clone, build, config, standing
from tests.fixtures.engine import Bed, bed
from tests.fixtures.programs import until

from wattshed_dashboards.files import root as dashboards
from wattshed_exporter import __version__

pytestmark = pytest.mark.e2e

on_the_server = pytest.mark.parametrize("clone", ["server"], indirect=True)
JOBS = {"users", "migrate"}
LONG_S = 180.0
WEBHOOK = REPO / "tests/fixtures/stand_ins/webhook.py"
AT_ONCE = ("GPUIdleBurn.for=1s", "GPUIdleBurn.fire_above=1", "GPUIdleBurn.clear_below=0.5")
DEVICE, STEP_MS = "sim-dub-gpu-01/gpu0", 10_000
"""A device of the simulated fleet, and the time between two of its readings."""
TICKS = f"""
SELECT toUnixTimestamp64Milli(ts) FROM tick FINAL
WHERE device_id IN (SELECT device_id FROM v_device WHERE device = '{DEVICE}') ORDER BY ts
"""
ASK = """
import pathlib, sys, clickhouse_connect
word = pathlib.Path("/run/secrets/clickhouse-collector.password").read_text()
there = {"host": "clickhouse", "username": "wattshed_collector", "database": "wattshed"}
client = clickhouse_connect.get_client(**there, password=word)
print(*(row[0] for row in client.query(sys.argv[1]).result_rows))
"""
"""Runs in the collector's container: no other place reaches ClickHouse."""


# What the file says. Compose reads it; no engine is needed.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("config")
    shutil.copy(REPO / "docker-compose.yml", folder)
    told = {"WATTSHED_GID": "1000", "WATTSHED_NODE": "n1"}
    return config(debian.plugins(debian.cache()), folder, **told)


@pytest.fixture(scope="module")
def services(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(made["services"])


def test_without_make_env_it_says_what_to_do(tmp_path: Path) -> None:
    shutil.copy(REPO / "docker-compose.yml", tmp_path)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        config(debian.plugins(debian.cache()), tmp_path)
    assert b"run make env first" in refused.value.stderr


def test_ports_are_bound_to_this_machine_alone(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) >= 5
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_no_service_may_more_than_it_needs(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "pid", "ipc", "network_mode", "devices", "cap_add"} & {*service}
        binds = [v for v in service.get("volumes", []) if v["type"] == "bind"]
        assert all(volume["read_only"] for volume in binds), name
        assert not [v for v in binds if "docker.sock" in v["source"]], name
        assert not [v for v in binds if v["source"] in ("/", "/sys", "/dev")], name
        root = service["user"].split(":")[0] in ("", "0")
        assert root == name.startswith("exporter"), name


def test_every_service_is_watched_and_bounded(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert {"memory", "pids"} <= limits.keys(), name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        if name in JOBS:
            assert service["restart"] == "no", name
            continue
        assert {"test", "interval", "timeout", "retries", "start_period"} <= {
            *service["healthcheck"]
        }, name
        assert service["stop_grace_period"], name
        assert service["restart"] == "unless-stopped", name


def test_what_starts_waits_for_what_it_needs(services: dict[str, dict[str, Any]]) -> None:
    def after(name: str) -> dict[str, str]:
        return {k: v["condition"] for k, v in services[name].get("depends_on", {}).items()}

    assert after("users") == {"clickhouse": "service_healthy"}
    assert after("migrate") == {"users": "service_completed_successfully"}
    assert after("collector") == {"migrate": "service_completed_successfully"}
    either = {"collector": "service_healthy", "collector-embedded": "service_healthy"}
    for name in ("exporter", "exporter-gpu", "fleet"):
        assert after(name) == either
        assert not any(each["required"] for each in services[name]["depends_on"].values())


def test_tags_are_pinned_and_ours_are_this_version(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        tag = service["image"].rpartition(":")[2]
        assert re.fullmatch(r"v?\d+(\.\d+){2,3}", tag), name
        assert ("build" in service) == service["image"].startswith("ghcr.io/wattshed/"), name
        assert "build" not in service or tag == __version__


def test_no_password_is_in_the_file_or_its_folder(made: dict[str, Any]) -> None:
    words = re.compile(r"(?i)(password|token|secret|key)$")
    for name, service in made["services"].items():
        told = service.get("environment", {})
        assert not [key for key in told if words.search(key)], name
    assert made["secrets"]
    assert all("/compose/secrets/" in each["file"] for each in made["secrets"].values())
    used = {s["source"] for service in made["services"].values() for s in service["secrets"]}
    assert used == made["secrets"].keys()


def test_who_sends_scrapes_or_shows_has_no_secret_but_its_own(
    services: dict[str, dict[str, Any]],
) -> None:
    held = {
        name: {each["source"] for each in service["secrets"]} for name, service in services.items()
    }
    for name in ("exporter", "exporter-gpu", "fleet"):
        assert held[name] == {"exporter.yaml"}, name
    assert held["prometheus"] == {"prometheus.token"}
    assert held["alertmanager"] == {"alert-webhook.url"}
    assert held["grafana"] == {"grafana-admin.password", "clickhouse-grafana.password"}
    assert held["grafana-embedded"] == {"grafana-admin.password", "grafana.token"}
    assert held["clickhouse"] == {"clickhouse-users.xml"}
    assert held["migrate"] == {"clickhouse-migrate.password"}
    assert {name for name in held if "clickhouse-admin.password" in held[name]} == {"users"}


def test_clickhouse_is_reached_by_who_needs_it_and_reaches_nobody(made: dict[str, Any]) -> None:
    assert made["networks"]["store"]["internal"] is True
    beside = {name for name, each in made["services"].items() if "store" in each["networks"]}
    assert beside == {"clickhouse", "users", "migrate", "collector", "grafana"}
    for name in ("clickhouse", "users", "migrate"):
        assert made["services"][name]["networks"].keys() == {"store"}, name
        assert "ports" not in made["services"][name], name


def test_only_the_profile_gpu_asks_for_gpus(services: dict[str, dict[str, Any]]) -> None:
    asking = {n for n, s in services.items() if "reservations" in s["deploy"]["resources"]}
    assert asking == {"exporter-gpu"}
    assert {name: s["profiles"] for name, s in services.items() if "exporter" in name} == {
        "exporter": ["node"],
        "exporter-gpu": ["gpu"],
    }


def test_clickhouse_may_open_its_files(services: dict[str, dict[str, Any]]) -> None:
    assert services["clickhouse"]["ulimits"]["nofile"] == {"soft": 262144, "hard": 262144}


def test_the_data_source_is_the_one_that_boards_and_rules_name() -> None:
    (shipped,) = _yaml(dashboards() / "provisioning/datasources/wattshed.yaml")["datasources"]
    (embedded,) = _yaml(REPO / "compose/grafana/embedded.yaml")["datasources"]
    (server,) = _yaml(REPO / "compose/grafana/server.yaml")["datasources"]
    assert embedded | {"secureJsonData": 0} == shipped | {"secureJsonData": 0}
    assert server["uid"] == shipped["uid"]
    where = ("host", "port", "path", "username", "defaultDatabase")
    for told in (server["jsonData"], shipped["jsonData"]):
        for key in where:
            told.pop(key, None)
    assert server["jsonData"] == shipped["jsonData"]


def test_alerts_are_muted_as_in_the_example() -> None:
    webhook = _yaml(REPO / "compose/alertmanager/webhook.yml")
    example = _yaml(dashboards() / "alerts/alertmanager.example.yml")
    assert webhook["inhibit_rules"] == example["inhibit_rules"]


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


# A start from a clone. ClickHouse, Prometheus and Alertmanager are stand-ins, Grafana is left out.


@pytest.fixture(scope="module")
def engine(made: dict[str, Any]) -> Iterator[Bed]:
    with bed() as running:
        build(running, {name: each["image"] for name, each in made["services"].items()})
        yield running


@pytest.fixture(scope="module", params=["server", "embedded"])
def clone(
    request: pytest.FixtureRequest, engine: Bed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clone]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    asked = ["--demo", "--webhook", "http://webhook:8080/"]
    asked += ["--embedded"] if request.param == "embedded" else []
    made = Clone(engine, folder, *asked)
    _hasten(folder)
    with standing(made):
        yield made
    assert not made.left()


def _hasten(folder: Path) -> None:
    """Change what an operator may: rules with own thresholds, and nothing waits for company."""
    command = [sys.executable, "-m", "wattshed_collector.cli", "alerts", "compile"]
    command += ["--interval", "1s", *(word for each in AT_ONCE for word in ("--set", each))]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (folder / "dashboards/alerts/prometheus/waste.rules.yml").write_text(said)
    for path, old, new in (
        ("compose/alertmanager/webhook.yml", "group_wait: 30s", "group_wait: 0s"),
        ("compose/prometheus/prometheus.yml", "interval: 15s", "interval: 1s"),
    ):
        text = (folder / path).read_text()
        assert old in text
        (folder / path).write_text(text.replace(old, new))


def test_all_but_grafana_become_healthy_with_stand_ins_for_vendors_images(clone: Clone) -> None:
    states = clone.states()
    assert states.keys() == {*clone.services()}
    jobs = {name: state for name, state in states.items() if name in JOBS}
    assert set(jobs.values()) <= {"exited 0"}
    assert {states[name] for name in states.keys() - JOBS} == {"healthy"}
    assert {"exporter", "fleet", "prometheus", "alertmanager"} <= states.keys()
    assert not NOT_TO_BE_HAD & states.keys()


def test_the_page_and_the_boards_have_data(clone: Clone) -> None:
    def methods() -> Any:
        return clone.ask("/v1/report?since=2h")["quality"]["by_method"]

    until(lambda: len(methods()) > 1, LONG_S)  # the fleet, and this machine some seconds later
    assert methods()["simulated"] > 0
    assert clone.ask("/v1/report?since=2h")["total_joules"] > 0
    assert clone.ask("/v1/energy?by=workload&since=2h")["rows"]
    assert "<html" in clone.ask("/")
    for board in ("wattshed-fleet", "wattshed-stack"):
        assert "<html" in clone.ask(f"/boards/{board}")


def test_nobody_sees_anything_without_a_token(clone: Clone) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        clone.ask("/v1/report", token="grafana-admin.password")
    refused.value.close()
    assert refused.value.code == 401


@on_the_server
def test_an_alert_of_the_simulated_fleet_reaches_a_webhook(clone: Clone) -> None:
    run = ["run", "--detach", "--name", "webhook", "--network", "wattshed_default"]
    run += ["--volume", f"{WEBHOOK}:/webhook.py:ro", debian.BASE, "python", "/webhook.py"]
    clone.bed(*run)
    try:
        until(lambda: "GPUIdleBurn" in clone.bed("logs", "webhook"), LONG_S)
        page = json.loads(clone.bed("logs", "webhook").splitlines()[0])
        assert page["receiver"] == "webhook"
        assert "Watchdog" not in clone.bed("logs", "webhook")
    finally:
        clone.bed("rm", "--force", "webhook")


@on_the_server
def test_a_restart_of_the_stand_in_for_clickhouse_loses_nothing(clone: Clone) -> None:
    def ticks() -> list[int]:
        python = ["exec", "-T", "collector", "/opt/wattshed/bin/python", "-c", ASK]
        return [int(word) for word in clone.compose(*python, TICKS).split()]

    before = ticks()
    assert before
    clone.compose("restart", "clickhouse")
    clone.compose("up", "--detach", "--wait", "--pull", "never", *clone.services())
    started_ms = time.time() * 1000
    until(lambda: ticks()[-1] > started_ms + STEP_MS, LONG_S)
    after = ticks()
    assert after[: len(before)] == before
    live = after[len(before) - 1 :]
    assert {later - earlier for earlier, later in pairwise(live)} == {STEP_MS}
