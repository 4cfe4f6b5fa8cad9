"""Tokens and passwords of the chart: random, kept, and what the collector makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Config
from tests.fixtures.kube_server import Cluster
from tests.helm.chart import CHART, Manifest, one, render
from tests.helm.mounts import laid, secret_texts
from tests.helm.releases import made

from wattshed_collector.security import rules
from wattshed_collector.security.rules import Role, Rules
from wattshed_exporter.errors import ConfigError

ROLES = ("ingest", "read", "metrics", "admin")
ALONE: dict[str, Any] = {"exporter": {"enabled": False}}


def of(collector: dict[str, Any]) -> dict[str, Any]:
    return {**ALONE, "collector": collector}


def in_force(values: dict[str, Any], root: Path, more: dict[str, dict[str, str]]) -> Rules:
    """The rules as the collector's guard reads them of its mount, modes and all."""
    found = one(made(values), "StatefulSet", "w-wattshed-collector")
    pod = found["spec"]["template"]["spec"]
    laid(pod, pod["containers"][0], made(values), more, root)
    return rules.load(root / "etc/wattshed/security/security.yaml")


def tokens(values: dict[str, Any], name: str = "w") -> dict[str, str]:
    return secret_texts(one(render(values, name=name), "Secret", f"{name}-wattshed-tokens"))


def roles_of(found: Rules, token: str) -> set[Role]:
    who = found.token(token.encode())
    assert who is not None
    return set(who.roles)


def test_each_token_has_its_role_and_no_other(tmp_path: Path) -> None:
    found, held = in_force(ALONE, tmp_path, {}), tokens(ALONE)
    assert held.keys() == set(ROLES)
    assert {name: roles_of(found, held[name]) for name in ROLES} == {r: {Role(r)} for r in ROLES}
    assert found.token(b"another") is None
    assert found.anonymous.roles == frozenset()


def test_tokens_are_long_and_random() -> None:
    held, others = tokens(ALONE), tokens(ALONE, name="x")
    words = [*held.values(), *others.values()]
    assert len(set(words)) == 8
    assert {len(word) for word in words} == {43}  # as many as 32 random bytes take in base64


def test_a_secret_that_anybody_may_read_would_be_refused(tmp_path: Path) -> None:
    """The mode that a projected volume has by default is not enough."""
    in_force(ALONE, tmp_path, {})
    folder = tmp_path / "etc/wattshed/security"
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o440}
    (folder / "security.yaml").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        rules.load(folder / "security.yaml")


def test_more_of_the_values(tmp_path: Path) -> None:
    said = {
        "tokens": {"clusters": ["alpha"]},
        "security": {
            "anonymous": ["metrics"],
            "tokens": [
                {
                    "name": "site-b",
                    "roles": ["ingest"],
                    "nodes": ["b-*"],
                    "requests_per_second": 5,
                    "existingSecret": {"name": "site", "key": "word"},
                }
            ],
            "users": [{"name": "ada", "roles": ["read"], "bcrypt": "$2b$10$" + "a" * 53}],
        },
    }
    word = "a token of 20 bytes or more"
    found = in_force(of(said), tmp_path, {"site": {"word": word}})
    who = found.token(word.encode())
    assert who is not None
    assert (who.name, who.nodes, who.requests_per_second) == ("site-b", ("b-*",), 5)
    assert found.anonymous.roles == {Role.METRICS}
    assert found.users.keys() == {"ada"}
    ingest = found.token(tokens(of(said))["ingest"].encode())
    assert ingest is not None
    assert ingest.clusters == ("alpha",)


def test_tokens_of_a_secret_that_is_there(tmp_path: Path) -> None:
    values = of({"tokens": {"existingSecret": "theirs"}})
    words = {role: f"{role} and twenty bytes more" for role in ROLES}
    found = in_force(values, tmp_path, {"theirs": words})
    assert roles_of(found, words["ingest"]) == {Role.INGEST}
    assert "w-wattshed-tokens" not in {o["metadata"]["name"] for o in made(values)}


@pytest.mark.parametrize("key", ["security.yaml", "rules"])
def test_a_whole_file_of_ones_own(tmp_path: Path, key: str) -> None:
    values = of({"security": {"existingSecret": "theirs", "key": key}})
    file = yaml.safe_dump(
        {
            "tokens": [
                {"name": "all", "roles": ["admin"], "file": "mine"},
                {"name": "fleet", "roles": ["ingest"], "file": "ingest.token"},
            ]
        }
    )
    word = "a token of 20 bytes or more"
    found = in_force(values, tmp_path, {"theirs": {key: file, "mine": word}})
    assert roles_of(found, word) == {Role.ADMIN}
    assert roles_of(found, tokens(values)["ingest"]) == {Role.INGEST}
    assert found.token(tokens(values)["admin"].encode()) is None
    assert "w-wattshed-security" not in {o["metadata"]["name"] for o in made(values)}


def test_nothing_secret_is_in_a_config_map_or_an_argument() -> None:
    values = {**of({}), "clickhouse": {"mode": "operator"}}
    objects = made(values)
    words = [
        text
        for found in objects
        if found["kind"] == "Secret" and found["metadata"]["name"] != "w-wattshed-security"
        for text in secret_texts(found).values()
    ]
    assert len(words) == 8
    others = str([found for found in objects if found["kind"] != "Secret"])
    assert not [word for word in words if word in others]


def passwords(values: dict[str, Any]) -> Manifest:
    return one(made(values), "Secret", "w-wattshed-clickhouse")


def test_passwords_are_made_where_the_chart_makes_the_server() -> None:
    found = {**ALONE, "clickhouse": {"mode": "altinity"}}
    assert secret_texts(passwords(found)).keys() == {"admin", "migrate", "collector", "grafana"}
    there = {"mode": "altinity", "auth": {"existingSecret": "theirs"}}
    for values in (ALONE, {**ALONE, "clickhouse": there}):
        names = {o["metadata"]["name"] for o in made(values) if o["kind"] == "Secret"}
        assert "w-wattshed-clickhouse" not in names


def held(cluster: Cluster, name: str) -> dict[str, str]:
    found = cluster.find("Secret", "energy", name)
    assert found is not None
    return secret_texts(found)


def test_an_upgrade_makes_only_the_words_that_are_missing(cluster: Cluster, helm: Config) -> None:
    values = {**ALONE, "clickhouse": {"mode": "altinity"}}
    names = ("w-wattshed-tokens", "w-wattshed-clickhouse")
    helm.install(str(CHART), "w", values)
    before, passwords = (held(cluster, name) for name in names)
    assert [len(before), len(passwords)] == [4, 4]
    key = cluster.key("Secret", names[0], "energy")
    cluster.store.patch(key, "application/merge-patch+json", {"data": {"read": None}})
    helm.upgrade(str(CHART), "w", {**values, "commonLabels": {"a": "b"}})
    after = held(cluster, names[0])
    assert len(after["read"]) == 43
    assert after.pop("read") != before.pop("read")
    assert after == before
    assert held(cluster, names[1]) == passwords
