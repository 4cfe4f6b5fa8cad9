"""The collector's half of the chart: what is rendered, and what the collector says to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import HelmError
from tests.fixtures.kube_server.schemas import Schemas
from tests.helm.chart import Manifest, one, render
from tests.helm.mounts import IMAGE, laid
from tests.helm.releases import made

from wattshed_collector.config import PREFIX, Config, Migrate
from wattshed_exporter.settings import load

NAME = "w-wattshed-collector"
ALONE: dict[str, Any] = {"exporter": {"enabled": False}}
EXTERNAL: dict[str, Any] = {
    **ALONE,
    "clickhouse": {
        "mode": "external",
        "external": {"hosts": ["ch1", "ch2:9000"]},
        "auth": {"existingSecret": "words"},
    },
}
WORDS = {"words": dict.fromkeys(("admin", "collector", "migrate"), "a password of theirs")}
SLO = {
    "name": "tokens",
    "outcome": "token",
    "target_joules_per_outcome": 1e8,
    "objective_ratio": 0.9,
}
EVERYTHING: dict[str, Any] = {
    **EXTERNAL,
    "commonLabels": {"team": "energy"},
    "commonAnnotations": {"note": "{{ .Release.Name }}"},
    "collector": {
        "slos": [
            {
                "name": "tokens",
                "outcome": "token",
                "target_joules_per_outcome": 1e8,
                "objective_ratio": 0.9,
            }
        ],
        "topology": {"gpu-*": "wall"},
        "config": {
            "listen": "[::]:9740",
            "scrape": {"jobs": [{"name": "mine"}]},
            "ingest": {"queue_rows": 1000000},
        },
        "security": {
            "anonymous": ["read"],
            "tokens": [
                {"name": "ci", "roles": ["read"], "existingSecret": {"name": "ci", "key": "word"}},
                {"name": "old", "roles": ["admin"], "sha256": ["0" * 64]},
            ],
            "users": [{"name": "ada", "roles": ["read"], "bcrypt": "$2b$10$" + "a" * 53}],
            "certificates": [{"name": "edge", "names": ["CN:x"], "roles": ["ingest"]}],
        },
        "tls": {"enabled": True, "existingSecret": "pair", "clientCaKey": "ca.crt"},
        "service": {
            "type": "LoadBalancer",
            "nodePort": 30740,
            "annotations": {"a": "b"},
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
        },
        "ingress": {
            "enabled": True,
            "hosts": ["energy.example"],
            "className": "nginx",
            "tls": [{"secretName": "door", "hosts": ["energy.example"]}],
        },
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "gate"}],
            "hostnames": ["energy.example"],
        },
        "kubernetesDiscovery": {"enabled": True, "annotatedPods": True},
        "autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 5},
        "extraEnv": [{"name": "A", "value": "b"}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        "tolerations": [{"operator": "Exists"}],
    },
    "networkPolicy": {
        "enabled": True,
        "nodeCIDRs": ["10.0.0.0/8"],
        "scrapeTargets": [{"namespaceSelector": {}}],
    },
}
VALUES = {"embedded": ALONE, "external": EXTERNAL, "everything": EVERYTHING}


def collector(values: dict[str, Any]) -> tuple[Manifest, Manifest, Manifest]:
    """The StatefulSet, its pod and its container."""
    found = one(made(values), "StatefulSet", NAME)
    pod = found["spec"]["template"]["spec"]
    return found, pod, pod["containers"][0]


def settings(values: dict[str, Any], root: Path, more: dict[str, dict[str, str]]) -> Config:
    """What the collector itself reads of its files, once they are where its mounts would be."""
    _, pod, container = collector(values)
    laid(pod, container, made(values), more, root)
    flag, file = container["args"]
    environ = {entry["name"]: entry["value"] for entry in container["env"]}
    environ["WATTSHED_COLLECTOR_DATA"] = environ["WATTSHED_COLLECTOR_DATA"].replace(
        "/var/lib", f"{root}/var/lib"
    )
    said = [flag, f"{root}{file}"]
    return load(Config, said, {**IMAGE, **environ}, prog="wattshed-collector", prefix=PREFIX)


@pytest.mark.parametrize("version", ["1.29", "1.34"])
def test_kubernetes_knows_every_field(version: str, schemas: Callable[[str], Schemas]) -> None:
    for found in made(EVERYTHING):
        if found["kind"] != "HTTPRoute":  # a CRD of the Gateway API
            assert schemas(version).problems(found) == [], found


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_pods_pass_the_restricted_profile(values: dict[str, Any]) -> None:
    _, pod, container = collector(values)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    kinds = {key for volume in pod["volumes"] for key in volume if key != "name"}
    assert kinds <= {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
    assert writable - {"/more"} == {"/var/lib/wattshed", "/tmp"}


class TestSettings:
    """Read by the collector's own loader, which checks files and rights as it does at a start."""

    def test_of_the_embedded_store(self, tmp_path: Path) -> None:
        told = settings(ALONE, tmp_path, {})
        assert told.data == f"{tmp_path}/var/lib/wattshed"
        assert told.listen == "0.0.0.0:9740"
        assert told.security.file == tmp_path / "etc/wattshed/security/security.yaml"
        assert told.durability.spool_folder == Path("wattshed-spool")  # it has none

    def test_of_a_server(self, tmp_path: Path) -> None:
        told = settings(EXTERNAL, tmp_path, WORDS)
        server = told.store.server(told.data)
        assert [str(node) for node in server.nodes] == ["ch1:8123", "ch2:9000"]
        assert (server.user, server.database) == ("wattshed_collector", "wattshed")
        assert server.secret() == "a password of theirs"
        assert told.store.migrate is Migrate.WAIT
        assert told.durability.spool_folder == tmp_path / "var/lib/wattshed/spool"
        assert told.durability.spool_bytes == 4 * 2**30

    def test_without_a_volume_nothing_is_acknowledged_from_the_pod(self, tmp_path: Path) -> None:
        values = {**EXTERNAL, "collector": {"persistence": {"enabled": False}}}
        assert settings(values, tmp_path / "a", WORDS).durability.spool_folder is None
        spool = {"persistence": {"enabled": False}, "spool": {"ephemeral": True, "bytes": 2**20}}
        told = settings({**EXTERNAL, "collector": spool}, tmp_path / "b", WORDS).durability
        assert told.spool_folder == tmp_path / "b/var/lib/wattshed/spool"

    def test_with_everything(self, tmp_path: Path, certificates: Path) -> None:
        pair = {
            "tls.crt": (certificates / "server.pem").read_text(),
            "tls.key": (certificates / "server.key").read_text(),
            "ca.crt": (certificates / "ca.pem").read_text(),
        }
        more = {**WORDS, "pair": pair, "ci": {"word": "a token of 20 bytes or more"}}
        told = settings(EVERYTHING, tmp_path, more)
        assert [job.name for job in told.scrape.jobs] == ["annotated-pods", "mine"]
        assert told.ingest.queue_rows == 1_000_000
        assert told.listen == "[::]:9740"
        (slo,) = told.slo.definitions()
        assert slo.target_joules_per_outcome == 1e8
        assert told.topology.parents() != {}
        files = told.security.tls()
        assert files is not None
        assert files.client_ca_file == tmp_path / "etc/wattshed/tls/clients.crt"


class TestStatefulSet:
    def test_one_collector_keeps_its_volume(self) -> None:
        found, pod, container = collector(ALONE)
        assert found["spec"]["replicas"] == 1
        (claim,) = found["spec"]["volumeClaimTemplates"]
        assert claim["spec"]["resources"] == {"requests": {"storage": "20Gi"}}
        assert "storageClassName" not in claim["spec"]
        assert found["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
        assert "lifecycle" not in container
        assert pod["automountServiceAccountToken"] is False

    def test_what_nobody_may_change_is_the_same_with_every_store(self) -> None:
        embedded, other = (collector(values)[0]["spec"] for values in (ALONE, EVERYTHING))
        for key in ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"):
            assert embedded[key] == other[key], key

    @pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
    def test_no_selector_names_a_version(self, values: dict[str, Any]) -> None:
        found, _, _ = collector(values)
        lasting = {f"app.kubernetes.io/{key}" for key in ("name", "instance", "component")}
        assert found["spec"]["selector"]["matchLabels"].keys() == lasting
        (claim,) = found["spec"]["volumeClaimTemplates"]
        assert claim["metadata"]["labels"].keys() == lasting
        labels = found["spec"]["template"]["metadata"]["labels"]
        for service in (NAME, f"{NAME}-headless"):
            chosen = one(made(values), "Service", service)["spec"]["selector"]
            assert chosen.items() <= labels.items()

    def test_a_claim_that_is_there(self) -> None:
        values = {**ALONE, "collector": {"persistence": {"existingClaim": "old"}}}
        found, pod, _ = collector(values)
        assert "volumeClaimTemplates" not in found["spec"]
        assert {"claimName": "old"} in [v.get("persistentVolumeClaim") for v in pod["volumes"]]

    def test_no_storage_class_is_not_the_default_one(self) -> None:
        values = {**ALONE, "collector": {"persistence": {"storageClass": "-"}}}
        found, _, _ = collector(values)
        assert found["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"] == ""

    def test_probes_ask_by_https_and_only_the_port_where_certificates_are_needed(self) -> None:
        _, _, container = collector(EVERYTHING)
        asked = container["readinessProbe"]["httpGet"]
        assert asked == {"path": "/readyz", "port": "http", "scheme": "HTTPS"}
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        tls = {**EVERYTHING["collector"]["tls"], "clientCertificates": "required"}
        values = {**EXTERNAL, "collector": {"tls": tls}}
        _, _, container = collector(values)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["tcpSocket"] == {"port": "http"}

    def test_probes_and_services_ask_where_it_listens(self) -> None:
        values = {**ALONE, "collector": {"config": {"listen": "[::]:9999"}}}
        _, _, container = collector(values)
        assert container["ports"] == [{"name": "http", "containerPort": 9999, "protocol": "TCP"}]
        for name in (NAME, f"{NAME}-headless"):
            (port,) = one(made(values), "Service", name)["spec"]["ports"]
            assert (port["port"], port["targetPort"]) == (9740, "http")

    def test_one_of_several_ends_after_it_is_asked_no_more(self) -> None:
        _, _, container = collector(EXTERNAL)
        (*_, script) = container["lifecycle"]["preStop"]["exec"]["command"]
        assert script == "import time; time.sleep(5)"

    def test_it_is_restarted_by_what_it_reads_once_alone(self) -> None:
        def sums(**values: Any) -> str:
            found, _, _ = collector({**EXTERNAL, "collector": values})
            text = found["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            return str(text)

        same = sums()
        assert sums(config={"log_level": "debug"}) != same
        assert sums(topology={"a": None}) != same
        # Both are looked at while it runs.
        assert sums(security={"anonymous": ["read"]}) == same
        one_slo, other = ([{"name": name}] for name in "ab")
        assert sums(slos=one_slo) == sums(slos=other)


class TestAround:
    def test_several_are_spread_scaled_and_not_all_evicted(self) -> None:
        found, pod, _ = collector(EVERYTHING)
        objects = made(EVERYTHING)
        assert "replicas" not in found["spec"]
        scaler = one(objects, "HorizontalPodAutoscaler", NAME)["spec"]
        assert scaler["scaleTargetRef"]["name"] == NAME
        assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 5)
        assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 600
        budget = one(objects, "PodDisruptionBudget", NAME)["spec"]
        selector = found["spec"]["selector"]
        assert budget["selector"] == selector
        (spread,) = pod["topologySpreadConstraints"]
        assert spread["labelSelector"] == selector

    def test_one_has_no_budget(self) -> None:
        kinds = {o["kind"] for o in made(EXTERNAL)}
        assert not {"PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"} & kinds

    def test_rights_are_given_where_they_are_asked_for(self) -> None:
        kinds = {o["kind"] for o in made(ALONE)}
        assert not {"ClusterRole", "Role"} & kinds
        objects = made(EVERYTHING)
        role = one(objects, "ClusterRole", f"energy-{NAME}")
        assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list", "watch"}
        _, pod, _ = collector(EVERYTHING)
        binding = one(objects, "ClusterRoleBinding", f"energy-{NAME}")
        assert binding["subjects"][0]["name"] == pod["serviceAccountName"]
        assert pod["automountServiceAccountToken"] is True
        few = {"enabled": True, "namespaces": ["gpu", "gpu"]}
        objects = made({**ALONE, "collector": {"kubernetesDiscovery": few}})
        assert one(objects, "RoleBinding", NAME)["metadata"]["namespace"] == "gpu"
        assert "ClusterRole" not in {o["kind"] for o in objects}

    def test_networks_open_as_far_as_is_needed(self) -> None:
        objects = made(EVERYTHING)
        policy = one(objects, "NetworkPolicy", NAME)["spec"]
        (rule,) = policy["ingress"]
        assert rule["ports"] == [{"port": "http", "protocol": "TCP"}]
        ours = {"app.kubernetes.io/name": "wattshed", "app.kubernetes.io/instance": "w"}
        readers = [
            {
                "namespaceSelector": {},
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": name}},
            }
            for name in ("prometheus", "grafana")
        ]
        block = {"ipBlock": {"cidr": "10.0.0.0/8"}}
        assert rule["from"] == [{"podSelector": {"matchLabels": ours}}, *readers, block]
        *rules, scraped = policy["egress"]
        ports = [{p["port"] for p in rule["ports"]} for rule in rules]
        assert ports == [{53}, {8123, 9000}, {443, 6443}]
        assert scraped == {"to": [{"namespaceSelector": {}}]}
        job = one(objects, "NetworkPolicy", "w-wattshed-migrate")["spec"]
        assert "ingress" not in job
        assert [{p["port"] for p in r["ports"]} for r in job["egress"]] == [{53}, {8123, 9000}]
        assert "Ingress" in job["policyTypes"]
        closed = one(made({**ALONE, "networkPolicy": {"enabled": True}}), "NetworkPolicy", NAME)
        assert [{p["port"] for p in r["ports"]} for r in closed["spec"]["egress"]] == [{53}]

    def test_a_way_in(self) -> None:
        objects = made(EVERYTHING)
        ingress = one(objects, "Ingress", NAME)["spec"]
        assert ingress["tls"] == [{"secretName": "door", "hosts": ["energy.example"]}]
        (rule,) = ingress["rules"]
        (path,) = rule["http"]["paths"]
        assert path["backend"]["service"] == {"name": NAME, "port": {"name": "http"}}
        route = one(objects, "HTTPRoute", NAME)
        assert route["spec"]["hostnames"] == ["energy.example"]
        assert route["spec"]["rules"][0]["backendRefs"] == [{"name": NAME, "port": 9740}]
        service = one(objects, "Service", NAME)["spec"]
        assert service["loadBalancerSourceRanges"] == ["192.0.2.0/24"]
        assert [(p["name"], p["port"], p["appProtocol"]) for p in service["ports"]] == [
            ("http", 9740, "https")
        ]

    def test_an_installation_may_have_no_collector(self) -> None:
        there = {"collector": {"enabled": False}}
        with pytest.raises(HelmError, match=r"exporter\.otlp\.endpoint: the pool \w+ has nowhere"):
            render(there)
        push = {"otlp": {"endpoint": "https://c", "token": {"existingSecret": "t"}}}
        kinds = {o["kind"] for o in made({**there, "exporter": push})}
        assert "StatefulSet" not in kinds
        assert "Secret" not in kinds


HPA = {"enabled": True}
REFUSED = [
    (
        {"collector": {"kubernetesDiscovery": HPA}, "networkPolicy": {"enabled": True}},
        "networkPolicy.scrapeTargets: name what",
    ),
    ({"collector": {"replicas": 2}}, "collector.replicas: the embedded store has one"),
    ({"collector": {"autoscaling": HPA}}, "autoscaling.enabled: the embedded store has one"),
    ({"collector": {"tls": {"enabled": True}}}, "tls.existingSecret: https needs a Secret"),
    ({"collector": {"tls": {"clientCaKey": "x"}}}, "clientCaKey: client certificates are part"),
    ({"collector": {"ingress": {"enabled": True}}}, "ingress.hosts: name at least one"),
    ({"collector": {"httpRoute": {"enabled": True}}}, "httpRoute.parentRefs: name the Gateway"),
    (
        {"collector": {"kubernetesDiscovery": {"annotatedPods": True}}},
        "annotatedPods: needs collector.kubernetesDiscovery.enabled",
    ),
    (
        {"collector": {"security": {"certificates": [{"name": "a", "names": [], "roles": []}]}}},
        "certificates: needs collector.tls.clientCaKey",
    ),
    (
        {**EXTERNAL, "collector": {"replicas": 2, "persistence": {"existingClaim": "c"}}},
        "existingClaim: is for one collector",
    ),
    (
        {**EXTERNAL, "collector": {"autoscaling": HPA, "persistence": {"whenScaled": "Delete"}}},
        "whenScaled: Delete loses what a spool still holds",
    ),
    (
        {**EXTERNAL, "collector": {"autoscaling": {"enabled": True, "maxReplicas": 1}}},
        "maxReplicas: is below minReplicas",
    ),
]


@pytest.mark.parametrize(("values", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_be_is_said(values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError, match=said.replace(".", r"\.")):
        render(values)


@pytest.mark.parametrize(
    "collector", [{"config": {"store": {"migrat": "wait"}}}, {"replicsa": 2}, {"replicas": "2"}]
)
def test_misspelt_values_are_refused(collector: dict[str, Any]) -> None:
    with pytest.raises(HelmError, match=r"replicsa|migrat|got string, want integer"):
        render({"collector": collector})


def test_settings_are_json_that_is_yaml() -> None:
    data = one(made(EVERYTHING), "ConfigMap", NAME)["data"]
    assert yaml.safe_load(data["collector.yaml"])["ingest"] == {"queue_rows": 1_000_000}
