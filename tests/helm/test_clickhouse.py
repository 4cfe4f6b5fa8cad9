"""Where the chart's collectors keep what they are told, and the Job that makes the tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from helm_python import HelmError
from tests.fixtures.kube_server.schemas import Schemas
from tests.helm.chart import CHART, Manifest, one, render
from tests.helm.clickhouse_crds import SPECS, pods
from tests.helm.mounts import IMAGE, laid, secret_texts
from tests.helm.releases import made

from wattshed_collector import cli
from wattshed_collector.config import PREFIX, Config
from wattshed_collector.store.layout import Layout
from wattshed_collector.store.users import USERS
from wattshed_exporter.settings import load

ALONE: dict[str, Any] = {"exporter": {"enabled": False}}


def values(mode: str, collector: dict[str, Any] | None = None, **clickhouse: Any) -> dict[str, Any]:
    return {**ALONE, "collector": collector or {}, "clickhouse": {"mode": mode, **clickhouse}}


MANY = {"server": {"shards": 2, "replicas": 2}}
ALTINITY, ALTINITY_MANY = values("altinity"), values("altinity", **MANY)
OPERATOR, OPERATOR_MANY = values("operator"), values("operator", **MANY)
BARE = values("altinity", keeper={"enabled": False})
OF_OPERATORS = {
    "altinity": ALTINITY,
    "altinity-many": ALTINITY_MANY,
    "altinity-bare": BARE,
    "operator": OPERATOR,
    "operator-many": OPERATOR_MANY,
}
EXTERNAL = values(
    "external",
    {"config": {"retention": {"raw_days": 7}}},
    external={
        "hosts": ["a:8443", "b"],
        "secure": True,
        "cluster": "fleet",
        "sharded": True,
        "caSecret": {"name": "authority"},
        "clientCertificateSecret": "pair",
    },
    auth={"existingSecret": "words", "createUsers": True},
)


def job(told: dict[str, Any]) -> Manifest:
    (found,) = (o for o in made(told) if o["kind"] == "Job")
    return found


def of_kind(told: dict[str, Any], kind: str) -> Manifest:
    (found,) = (o for o in made(told) if o["kind"] == kind)
    return found


@pytest.mark.parametrize("told", OF_OPERATORS.values(), ids=OF_OPERATORS)
def test_the_operators_know_every_field(told: dict[str, Any]) -> None:
    custom = [o for o in made(told) if (o["apiVersion"], o["kind"]) in SPECS]
    assert len(custom) == (1 if told is BARE else 2)
    for found in custom:
        jsonschema.validate(found["spec"], SPECS[found["apiVersion"], found["kind"]])


@pytest.mark.parametrize("told", [ALTINITY, OPERATOR], ids=["altinity", "operator"])
def test_kubernetes_knows_every_field_of_their_pods(
    told: dict[str, Any], schemas: Callable[[str], Schemas]
) -> None:
    for found in made(told):
        for pod in pods(found) if (found["apiVersion"], found["kind"]) in SPECS else ():
            assert schemas("1.29").problems(pod) == [], pod


class TestAltinity:
    def test_its_pods_pass_the_restricted_profile(self) -> None:
        for kind in ("ClickHouseInstallation", "ClickHouseKeeperInstallation"):
            (template,) = of_kind(ALTINITY, kind)["spec"]["templates"]["podTemplates"]
            (container,) = template["spec"]["containers"]
            assert template["spec"]["securityContext"]["runAsNonRoot"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            # By these names the operator finds its container.
            assert container["name"] in ("clickhouse", "clickhouse-keeper")

    def test_nodes_are_called_as_the_operator_calls_them(self) -> None:
        """chi-{installation}-{cluster}-{shard}-{replica}: the Service of each StatefulSet."""
        data = one(made(ALTINITY_MANY), "ConfigMap", "w-wattshed-collector")["data"]
        told = yaml.safe_load(data["collector.yaml"])
        name = of_kind(ALTINITY_MANY, "ClickHouseInstallation")["metadata"]["name"]
        hosts = [told["data"].removeprefix("http://"), *told["store"]["hosts"]]
        nodes = [f"chi-{name}-wattshed-{s}-{r}" for s in (0, 1) for r in (0, 1)]
        assert hosts == [f"{node}.energy.svc.cluster.local" for node in nodes]
        assert told["store"]["cluster"] == "wattshed"
        assert told["store"]["sharded"] is True

    def test_its_admin_has_a_password_of_the_secret(self) -> None:
        users = of_kind(ALTINITY, "ClickHouseInstallation")["spec"]["configuration"]["users"]
        word = users["wattshed_admin/password"]["valueFrom"]["secretKeyRef"]
        assert word["key"] in secret_texts(one(made(ALTINITY), "Secret", word["name"]))
        assert users["wattshed_admin/access_management"] == 1

    def test_its_keeper_is_found(self) -> None:
        spec = of_kind(ALTINITY, "ClickHouseInstallation")["spec"]
        keeper = of_kind(ALTINITY, "ClickHouseKeeperInstallation")["metadata"]["name"]
        assert spec["configuration"]["zookeeper"]["nodes"][0]["host"] == f"keeper-{keeper}"

    def test_one_server_needs_no_keeper_and_replicates_nothing(self) -> None:
        data = one(made(BARE), "ConfigMap", "w-wattshed-collector")["data"]
        assert "cluster" not in yaml.safe_load(data["collector.yaml"])["store"]

    def test_a_spec_may_say_more(self) -> None:
        more = {"spec": {"defaults": {"replicasUseFQDN": "yes"}}}
        spec = of_kind(values("altinity", server=more), "ClickHouseInstallation")["spec"]
        assert spec["defaults"]["replicasUseFQDN"] == "yes"
        assert spec["defaults"]["templates"]["podTemplate"] == "server"


class TestOperator:
    def test_nobody_comes_in_without_a_password(self) -> None:
        """The operator gives its user ``default`` every right and no password."""
        settings = of_kind(OPERATOR, "ClickHouseCluster")["spec"]["settings"]
        word = settings["defaultUserPassword"]["secret"]
        assert word["key"] in secret_texts(one(made(OPERATOR), "Secret", word["name"]))
        admin = settings["extraUsersConfig"]["users"]["wattshed_admin"]
        variable = admin["password"][0]["@from_env"]
        env = of_kind(OPERATOR, "ClickHouseCluster")["spec"]["containerTemplate"]["env"]
        assert [entry["name"] for entry in env] == [variable]

    def test_users_are_kept_once_for_all_nodes(self) -> None:
        users = of_kind(OPERATOR, "ClickHouseCluster")["spec"]["settings"]["extraUsersConfig"]
        profile = users["profiles"][users["users"]["wattshed_admin"]["profile"]]
        assert profile == {"ignore_on_cluster_for_replicated_access_entities_queries": 1}

    def test_nodes_are_called_as_the_operator_calls_them(self) -> None:
        """Pods of the headless Service: {cluster}-clickhouse-{shard}-{replica}-0."""
        data = one(made(OPERATOR_MANY), "ConfigMap", "w-wattshed-collector")["data"]
        told = yaml.safe_load(data["collector.yaml"])
        hosts = [told["data"].removeprefix("http://"), *told["store"]["hosts"]]
        behind = "w-wattshed-clickhouse-headless.energy.svc.cluster.local"
        pods = [f"w-wattshed-clickhouse-{s}-{r}-0" for s in (0, 1) for r in (0, 1)]
        assert hosts == [f"{pod}.{behind}" for pod in pods]
        assert told["store"]["cluster"] == "default"

    def test_the_cluster_of_all_replicas_is_made(self) -> None:
        spec = of_kind(OPERATOR_MANY, "ClickHouseCluster")["spec"]
        data = one(made(OPERATOR_MANY), "ConfigMap", "w-wattshed-collector")["data"]
        name = yaml.safe_load(data["collector.yaml"])["store"]["whole_cluster"]
        (shard,) = spec["settings"]["extraConfig"]["remote_servers"][name]["shard"]
        assert len(shard["replica"]) == 4
        assert "extraConfig" not in of_kind(OPERATOR, "ClickHouseCluster")["spec"]["settings"]

    def test_an_image_by_digest(self) -> None:
        image = {"digest": f"sha256:{'a' * 64}"}
        spec = of_kind(values("operator", server={"image": image}), "ClickHouseCluster")["spec"]
        assert spec["containerTemplate"]["image"] == {
            "repository": "docker.io/clickhouse/clickhouse-server",
            "hash": image["digest"],
        }


def read_by(
    told: dict[str, Any], container: Manifest, root: Path, words: Any
) -> tuple[Any, Config]:
    """What ``wattshed`` reads of a container's command, and of the settings that it names."""
    laid(job(told)["spec"]["template"]["spec"], container, made(told), words, root)
    program, *command = container["command"]
    assert program == "wattshed"
    moved = [f"{root}{word}" if word.startswith("/") else word for word in command]
    arguments = cli.parser().parse_args(moved)
    environ = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environ.keys() == IMAGE.keys()  # what the image says would beat the file
    said = ["--config", arguments.config]
    return arguments, load(Config, said, environ, prog="wattshed", prefix=PREFIX)


THERE = {
    "words": {k: f"word of {k}" for k in ("admin", "migrate", "collector", "grafana")},
    "authority": {"ca.crt": "x"},
    "pair": {"tls.crt": "x", "tls.key": "x"},
}


class TestMigration:
    def test_the_embedded_store_has_none(self) -> None:
        assert not {"Job", "ClickHouseInstallation"} & {o["kind"] for o in made(ALONE)}

    def test_of_a_server_that_is_there_it_is_a_hook(self) -> None:
        found = job(EXTERNAL)
        settings = one(made(EXTERNAL), "ConfigMap", found["metadata"]["name"])
        for part in (found, settings):
            told = part["metadata"]["annotations"]
            assert told["helm.sh/hook"] == "pre-install,pre-upgrade"
            assert told["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
        before, after = (
            int(p["metadata"]["annotations"]["helm.sh/hook-weight"]) for p in (settings, found)
        )
        assert before < after
        assert found["spec"]["ttlSecondsAfterFinished"] > 0

    def test_before_the_release_only_what_is_there_is_used(self) -> None:
        """A hook before the install finds nothing of the release but what is a hook itself."""
        hooks = {
            (o["kind"], o["metadata"]["name"])
            for o in made(EXTERNAL)
            if "helm.sh/hook" in o["metadata"].get("annotations", {})
        }
        pod = job(EXTERNAL)["spec"]["template"]["spec"]
        assert "serviceAccountName" not in pod
        assert pod["automountServiceAccountToken"] is False
        secrets = {
            source["secret"]["name"]
            for volume in pod["volumes"]
            for source in volume.get("projected", {}).get("sources", [])
        } | {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        assert secrets == THERE.keys()
        maps = {v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v}
        assert {("ConfigMap", name) for name in maps} < hooks

    def test_of_an_operators_server_it_is_a_job_of_the_release(self) -> None:
        """As a hook after the install it would wait for collectors, and they for it."""
        found = job(ALTINITY)
        assert "helm.sh/hook" not in found["metadata"].get("annotations", {})
        assert "ttlSecondsAfterFinished" not in found["spec"]

    def test_a_job_of_the_release_has_a_new_name_whenever_it_changes(self) -> None:
        """The API server lets nobody change a Job's pod."""
        changes: list[dict[str, Any]] = [
            ALTINITY,
            {**ALTINITY, "migration": {"podLabels": {"a": "b"}}},
            {**ALTINITY, "migration": {"waitSeconds": 1}},
            values("altinity", {"config": {"retention": {"raw_days": 9}}}),
            values("altinity", {"image": {"tag": "9"}}),
            values("altinity", {}, server={"replicas": 2}),
        ]
        assert len({job(told)["metadata"]["name"] for told in changes}) == len(changes)
        other = values("altinity", {"replicas": 3})
        assert job(other)["metadata"]["name"] == job(ALTINITY)["metadata"]["name"]

    def test_its_commands_are_read_by_the_program(self, tmp_path: Path) -> None:
        pod = job(EXTERNAL)["spec"]["template"]["spec"]
        (users,), (migrate,) = pod["initContainers"], pod["containers"]
        arguments, config = read_by(EXTERNAL, users, tmp_path / "users", THERE)
        assert arguments.apply
        assert arguments.wait == 600
        assert {p.name: p.read_text() for p in arguments.passwords.iterdir()} == {
            "wattshed_collector": "word of collector",
            "wattshed_grafana": "word of grafana",
            "wattshed_migrate": "word of migrate",
        }
        assert {p.name for p in arguments.passwords.iterdir()} == USERS.keys()
        server = config.store.server(config.data)
        assert (server.user, server.secret()) == ("wattshed_admin", "word of admin")
        arguments, config = read_by(EXTERNAL, migrate, tmp_path / "migrate", THERE)
        server = config.store.server(config.data)
        assert (server.user, server.secret()) == ("wattshed_migrate", "word of migrate")
        assert [str(node) for node in server.nodes] == ["a:8443", "b:8443"]
        assert (server.is_tls, server.verify) == (True, True)
        layout = config.store.layout(config.retention.raw_days, 180, server.database)
        assert layout == Layout("fleet", 7, 180, "all-replicated", "wattshed")

    @pytest.mark.parametrize("told", [ALTINITY, EXTERNAL], ids=["altinity", "external"])
    def test_collectors_have_no_password_but_their_own(self, told: dict[str, Any]) -> None:
        found = one(made(told), "StatefulSet", "w-wattshed-collector")
        volumes = {v["name"]: v for v in found["spec"]["template"]["spec"]["volumes"]}
        sources = volumes["clickhouse"]["projected"]["sources"]
        assert [i["path"] for i in sources[0]["secret"]["items"]] == ["collector"]

    def test_without_it_collectors_migrate_themselves(self) -> None:
        told = {
            **values("external", external={"hosts": ["a"]}, auth={"existingSecret": "words"}),
            "migration": {"enabled": False},
        }
        data = one(made(told), "ConfigMap", "w-wattshed-collector")["data"]
        assert yaml.safe_load(data["collector.yaml"])["store"]["migrate"] == "auto"
        assert "Job" not in {o["kind"] for o in made(told)}

    def test_its_pods_pass_the_restricted_profile(self) -> None:
        pod = job(EXTERNAL)["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in (*pod["initContainers"], *pod["containers"]):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


HOSTS = {"hosts": ["a"]}
WORDS = {"existingSecret": "words"}
REFUSED = [
    (values("external"), "external.hosts: name the server"),
    (values("external", external=HOSTS), "auth.existingSecret: name a Secret"),
    (
        values("external", external={**HOSTS, "sharded": True}, auth=WORDS),
        "external.sharded: needs the name of the cluster",
    ),
    (
        values("external", external={**HOSTS, "clientCertificateSecret": "pair"}),
        "clientCertificateSecret: needs clickhouse.external.secure",
    ),
    (
        {
            **values("external", external=HOSTS, auth={**WORDS, "createUsers": True}),
            "migration": {"enabled": False},
        },
        "createUsers: the migration Job makes them",
    ),
    (
        values("altinity", auth={"collector": {"user": "me"}}),
        "auth.collector.user: the user that the migration Job makes is called wattshed_collector",
    ),
    ({**ALTINITY, "migration": {"enabled": False}}, "migration.enabled: with an operator"),
    (values("operator", keeper={"enabled": False}), "keeper.enabled: a ClickHouseCluster has to"),
    (
        values("altinity", keeper={"enabled": False}, server={"replicas": 2}),
        "keeper.enabled: more than one server needs a Keeper",
    ),
]


@pytest.mark.parametrize(("told", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_be_is_said(told: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError, match=said.replace(".", r"\.")):
        render(told)


def test_servers_are_those_of_compose_to_the_last_digit() -> None:
    server, keeper = (
        yaml.safe_load((CHART / "values.yaml").read_text())["clickhouse"][part]["image"]
        for part in ("server", "keeper")
    )
    services = yaml.safe_load((CHART.parents[1] / "docker-compose.yml").read_text())["services"]
    assert services["clickhouse"]["image"] == f"{server['repository']}:{server['tag']}"
    assert keeper["tag"] == server["tag"]


def test_names_stay_short_enough_for_what_operators_add() -> None:
    """A StatefulSet's name and the hash behind it are one label, of 63 characters."""
    for told, kind in ((ALTINITY, "ClickHouseInstallation"), (OPERATOR, "ClickHouseCluster")):
        long = render(told, name="a-release-with-a-name-that-is-rather-long-indeed-yes")
        (found,) = (o for o in long if o["kind"] == kind)
        assert len(f"chi-{found['metadata']['name']}-clickhouse-10-10") <= 52
        (found,) = (o for o in long if o["kind"] == "Job")
        assert len(found["metadata"]["name"]) <= 63
        assert "-migrate-" in found["metadata"]["name"]
