"""The exporters' half of the chart, as objects."""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import HelmError
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.kube_server.schemas import Schemas
from tests.helm.chart import Manifest, one, render

from wattshed_exporter.config import Config
from wattshed_exporter.settings import load

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]

EVERYTHING: Json = yaml.safe_load(Path(__file__).with_name("exporter-values.yaml").read_text())
NOBODY: Json = {
    "exporter": {"spool": {"type": "emptyDir"}, "permissionInitContainer": {"enabled": True}}
}


def exporters(values: Json | None = None) -> dict[str, Manifest]:
    """Return the DaemonSets by pool."""
    sets = [o for o in render(values) if o["kind"] == "DaemonSet"]
    return {o["spec"]["selector"]["matchLabels"]["wattshed.io/pool"]: o for o in sets}


def pod(daemonset: Manifest) -> Json:
    return daemonset["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def container(daemonset: Manifest) -> Json:
    return pod(daemonset)["containers"][0]  # type: ignore[no-any-return]


def environ(daemonset: Manifest) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container(daemonset)["env"]}


def host_paths(daemonset: Manifest) -> dict[str, str]:
    """Return what of the node is mounted, by the volume's name."""
    volumes = pod(daemonset)["volumes"]
    return {v["name"]: v["hostPath"]["path"] for v in volumes if "hostPath" in v}


def config(objects: list[Manifest], pool: str) -> Json:
    data = one(objects, "ConfigMap", f"w-wattshed-exporter-{pool}")["data"]
    return yaml.safe_load(data["config.yaml"])  # type: ignore[no-any-return]


def takes(daemonset: Manifest, labels: dict[str, str]) -> bool:
    """Say whether a node with these labels gets a pod, as Kubernetes' scheduler does."""
    spec = pod(daemonset)
    if any(labels.get(k) != v for k, v in spec.get("nodeSelector", {}).items()):
        return False
    affinity = spec.get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(
        all(_holds(each, labels) for each in term["matchExpressions"])
        for term in required["nodeSelectorTerms"]
    )


def _holds(expression: Json, labels: dict[str, str]) -> bool:
    found = labels.get(expression["key"]) in expression.get("values", ())
    return {"In": found, "NotIn": not found}[expression["operator"]]


def test_there_is_a_daemonset_for_nodes_with_gpus_and_one_for_all_others() -> None:
    assert set(exporters()) == {"gpu", "node"}
    assert set(exporters(EVERYTHING)) == {"batch", "edge", "gpu", "node"}
    assert exporters({"exporter": {"enabled": False}}) == {}
    assert set(exporters({"exporter": {"pools": {"gpu": {"enabled": False}}}})) == {"node"}


@pytest.mark.parametrize("values", [{}, EVERYTHING, NOBODY], ids=["plain", "everything", "nobody"])
def test_no_container_may_do_more_than_read(values: Json) -> None:
    for daemonset in exporters(values).values():
        ours = [c for c in pod(daemonset).get("initContainers", []) if c["name"] == "permissions"]
        for each in [*ours, container(daemonset)]:
            context = each["securityContext"]
            assert not context.get("privileged")
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_nothing_of_the_node_is_shared_unless_asked_for() -> None:
    for daemonset in exporters().values():
        spec = pod(daemonset)
        assert not {"hostPID", "hostNetwork", "hostIPC"} & spec.keys()
        assert spec["dnsPolicy"] == "ClusterFirst"
    for daemonset in exporters(EVERYTHING).values():
        spec = pod(daemonset)
        assert (spec["hostPID"], spec["hostNetwork"]) == (True, True)
        assert spec["dnsPolicy"] == "ClusterFirstWithHostNet"


@pytest.mark.parametrize("values", [{}, EVERYTHING, NOBODY], ids=["plain", "everything", "nobody"])
def test_of_the_node_only_the_spool_is_written_to(values: Json) -> None:
    for daemonset in exporters(values).values():
        paths = {
            v["name"]: v["hostPath"]["path"] for v in pod(daemonset)["volumes"] if "hostPath" in v
        }
        mounts = {m["name"]: m for m in container(daemonset)["volumeMounts"]}
        assert len(paths) > 5
        writable = [n for n in paths if n in mounts and not mounts[n].get("readOnly")]
        assert writable == (["spool"] if "spool" in paths else [])
        assert "/" not in paths.values()
        assert "/sys" not in paths.values()


def test_what_lies_below_proc_and_sys_is_read_only_as_well() -> None:
    def deep(values: Json, key: str) -> dict[str, str]:
        mounts = container(exporters(values)["node"])["volumeMounts"]
        return {m["mountPath"]: m[key] for m in mounts if key in m}

    assert deep({}, "recursiveReadOnly").keys() >= {"/host/proc", "/host/sys/fs/cgroup"}
    follow: Json = {"exporter": {"mountPropagation": "HostToContainer"}}
    assert deep(follow, "recursiveReadOnly") == {}
    assert deep(follow, "mountPropagation")["/host/proc"] == "HostToContainer"
    assert deep({"exporter": {"recursiveReadOnly": ""}}, "recursiveReadOnly") == {}


def test_all_gpus_are_seen_and_none_is_taken() -> None:
    gpu = exporters()["gpu"]
    assert "nvidia.com/gpu" not in json.dumps(container(gpu)["resources"])
    assert pod(gpu)["runtimeClassName"] == "nvidia"
    assert environ(gpu)["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert environ(gpu)["NVIDIA_DRIVER_CAPABILITIES"] == "utility"
    # Without CAP_SYS_ADMIN this keeps NVIDIA's runtime from starting the container.
    assert "NVIDIA_MIG_MONITOR_DEVICES" not in environ(gpu)
    assert environ(exporters(EVERYTHING)["gpu"])["NVIDIA_MIG_MONITOR_DEVICES"] == "all"
    assert not any(name.startswith("NVIDIA") for name in environ(exporters()["node"]))


def test_of_a_driver_on_the_node_only_nvml_is_loaded() -> None:
    gpu = exporters(EVERYTHING)["gpu"]
    assert environ(gpu)["LD_PRELOAD"] == ("/host/driver/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1")
    assert "LD_LIBRARY_PATH" not in environ(gpu)
    assert {"name": "driver", "hostPath": {"path": "/run/nvidia/driver"}} in pod(gpu)["volumes"]


LABELS = st.dictionaries(
    st.sampled_from(["nvidia.com/gpu.present", "pool", "tier", "zone"]),
    st.sampled_from(["true", "batch", "b", "other"]),
)
THREE = exporters(
    {
        "exporter": {
            "pools": {
                "batch": {"nodeSelector": {"pool": "batch", "tier": "b"}},
                "node": {
                    "affinity": {
                        "nodeAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": {
                                "nodeSelectorTerms": [
                                    {"matchExpressions": [_in]}
                                    for _in in (
                                        {"key": "zone", "operator": "NotIn", "values": ["other"]},
                                        {"key": "tier", "operator": "In", "values": ["other"]},
                                    )
                                ]
                            }
                        }
                    }
                },
            }
        }
    }
)
TWO = exporters()


@given(labels=LABELS)
def test_every_node_has_one_exporter(labels: dict[str, str]) -> None:
    labels = {"kubernetes.io/os": "linux", **labels}
    assert sum(takes(daemonset, labels) for daemonset in TWO.values()) == 1
    assert not any(takes(d, {**labels, "kubernetes.io/os": "windows"}) for d in TWO.values())


@given(labels=LABELS)
def test_elsewhere_is_where_no_other_pool_is_and_where_the_affinity_says(
    labels: dict[str, str],
) -> None:
    labels = {"kubernetes.io/os": "linux", **labels}
    wished = labels.get("zone") != "other" or labels.get("tier") == "other"
    others = takes(THREE["gpu"], labels) or takes(THREE["batch"], labels)
    assert takes(THREE["node"], labels) == (wished and not others)


def test_a_pool_that_takes_every_node_leaves_none_for_elsewhere() -> None:
    with pytest.raises(HelmError, match=r"exporter\.pools\.all takes every node, so node"):
        render({"exporter": {"pools": {"all": {"runtimeClassName": "x"}}}})


def test_rights_are_there_only_where_pods_are_watched() -> None:
    objects = render()
    (role,) = (o for o in objects if o["kind"] == "ClusterRole")
    assert [(r["resources"], r["verbs"]) for r in role["rules"]] == [
        (["pods"], ["get", "list", "watch"]),
        (["resourceslices"], ["get", "list", "watch"]),
    ]
    binding = one(objects, "ClusterRoleBinding", role["metadata"]["name"])
    account = one(objects, "ServiceAccount", "w-wattshed-exporter")
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": "energy"}
    ]
    assert account["automountServiceAccountToken"] is False
    assert pod(exporters()["node"])["automountServiceAccountToken"] is True


@pytest.mark.parametrize("off", [{"watchPods": False}, {"rbac": {"create": False}}])
def test_no_rights_are_made_where_nobody_wants_them(off: Json) -> None:
    kinds = {o["kind"] for o in render({"exporter": off})}
    assert not {"ClusterRole", "ClusterRoleBinding"} & kinds
    for daemonset in exporters({"exporter": off}).values():
        watches = off.get("watchPods", True)
        paths = host_paths(daemonset).values()
        assert pod(daemonset)["automountServiceAccountToken"] is watches
        assert ("/var/log/pods" in paths) is not watches


def test_claims_of_dra_can_be_left_out() -> None:
    objects = render({"exporter": {"rbac": {"resourceSlices": False}}})
    (role,) = (o for o in objects if o["kind"] == "ClusterRole")
    assert [r["resources"] for r in role["rules"]] == [["pods"]]


def test_releases_of_one_name_have_roles_of_their_own() -> None:
    names = {
        o["metadata"]["name"]
        for namespace in ("a", "b")
        for o in render(namespace=namespace)
        if o["kind"].startswith("ClusterRole")
    }
    assert names == {"w-wattshed-exporter-a", "w-wattshed-exporter-b"}


def test_long_names_are_cut_and_stay_apart() -> None:
    objects = render(EVERYTHING, name="r" * 53, namespace="n" * 63)
    names = [(o["kind"], o["metadata"]["name"]) for o in objects]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 63 for _, name in names)
    assert {n for k, n in names if k == "DaemonSet"} == {
        f"{'r' * (62 - len(part))}-{part}"
        for part in ("exporter-batch", "exporter-edge", "exporter-gpu", "exporter-node")
    }


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, "ghcr.io/wattshed/exporter:0.9.0"),
        ({"global": {"imageRegistry": "r.example"}}, "r.example/wattshed/exporter:0.9.0"),
        ({"exporter": {"image": {"tag": "1"}}}, "ghcr.io/wattshed/exporter:1"),
        (
            {"exporter": {"image": {"digest": f"sha256:{'a' * 64}", "tag": "1"}}},
            f"ghcr.io/wattshed/exporter@sha256:{'a' * 64}",
        ),
    ],
)
def test_images_are_named_by_registry_tag_or_digest(values: Json, image: str) -> None:
    assert {container(d)["image"] for d in exporters(values).values()} == {image}


def test_pull_secrets_are_names_or_maps() -> None:
    secrets = pod(exporters(EVERYTHING)["gpu"])["imagePullSecrets"]
    assert secrets == [{"name": "everywhere"}, {"name": "here"}]


def test_labels_annotations_and_variables_are_templates() -> None:
    objects = render(EVERYTHING)
    for daemonset in exporters(EVERYTHING).values():
        told = daemonset["spec"]["template"]["metadata"]
        assert told["labels"]["shift"] == "hall-2"
        assert told["labels"]["owner"] == "w-team"
        assert told["annotations"]["release"] == "w"
        assert environ(daemonset)["WATTSHED_CLUSTER"] == "energy"
        assert daemonset["spec"]["selector"]["matchLabels"].items() <= told["labels"].items()
    assert {o["metadata"]["labels"]["owner"] for o in objects} == {"w-team"}
    assert {o["metadata"]["annotations"]["note"] for o in objects} == {"energy"}
    account = one(objects, "ServiceAccount", "w-wattshed-exporter")
    assert account["metadata"]["annotations"]["eks"] == "w"


def test_what_is_scraped_is_the_port_of_every_pool() -> None:
    service = one(render(), "Service", "w-wattshed-exporter")["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True
    for daemonset in exporters().values():
        labels = daemonset["spec"]["template"]["metadata"]["labels"]
        assert service["selector"].items() <= labels.items()
        ports = {p["name"]: p["containerPort"] for p in container(daemonset)["ports"]}
        assert ports[service["ports"][0]["targetPort"]] == service["ports"][0]["port"] == 9741


def test_a_network_policy_lets_in_who_scrapes() -> None:
    assert not any(o["kind"] == "NetworkPolicy" for o in render())
    policies = {"enabled": True, "nodeCIDRs": ["10.0.0.0/16"]}
    spec = one(render({"networkPolicy": policies}), "NetworkPolicy", "w-wattshed-exporter")["spec"]
    labels = exporters()["gpu"]["spec"]["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"].items() <= labels.items()
    (rule,) = spec["ingress"]
    assert rule["ports"] == [{"port": "metrics", "protocol": "TCP"}]
    assert {"ipBlock": {"cidr": "10.0.0.0/16"}} in rule["from"]
    apps = [peer.get("podSelector", {}).get("matchLabels", {}) for peer in rule["from"]]
    assert "prometheus" in {labels.get("app.kubernetes.io/name") for labels in apps}
    assert "collector" in {labels.get("app.kubernetes.io/component") for labels in apps}


def test_the_spool_is_where_it_was_said() -> None:
    for kind, made in (
        ("hostPath", {"path": "/data/energy-w-wattshed", "type": "DirectoryOrCreate"}),
        ("emptyDir", {"sizeLimit": "1200Mi"}),
        ("none", None),
    ):
        values: Json = {"exporter": {"spool": {"type": kind, "hostPath": "/data"}}}
        spools = [v for v in pod(exporters(values)["node"])["volumes"] if v["name"] == "spool"]
        assert spools == ([] if made is None else [{"name": "spool", kind: made}])
        told = "" if made is None else "/var/lib/wattshed"
        assert environ(exporters(values)["node"])["WATTSHED_STATE_DIR"] == told


def test_a_web_configuration_file_leaves_probes_the_port() -> None:
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        plain = container(exporters()["node"])[probe]
        assert plain["httpGet"]["port"] == "metrics"
        guarded = container(exporters(EVERYTHING)["node"])[probe]
        assert guarded["tcpSocket"] == {"port": "metrics"}
        assert "httpGet" not in guarded
    own: Json = {"exec": {"command": ["true"]}, "httpGet": None}
    values: Json = {"exporter": {"readinessProbe": own}}
    assert container(exporters(values)["node"])["readinessProbe"]["exec"] == own["exec"]


def test_one_that_serves_nothing_has_no_port_and_no_probe() -> None:
    made = container(exporters({"exporter": {"config": {"web": {"listen_address": ""}}}})["node"])
    assert not {"ports", "startupProbe", "livenessProbe", "readinessProbe"} & made.keys()
    assert {"name": "WATTSHED_WEB_LISTEN_ADDRESS", "value": ""} in made["env"]


def test_a_pool_says_what_it_does_not_share() -> None:
    values: Json = {"exporter": {"priorityClassName": "low", "config": {"site": "a"}}}
    values["exporter"]["pools"] = {
        "gpu": {"priorityClassName": "", "tolerations": [], "config": {"tier": "b"}}
    }
    pools = exporters(values)
    assert pod(pools["node"])["priorityClassName"] == "low"
    assert not {"priorityClassName", "tolerations"} & pod(pools["gpu"]).keys()
    objects = render(values)
    assert config(objects, "gpu") == {**config(objects, "node"), "tier": "b"}
    assert config(objects, "gpu")["site"] == "a"


def test_a_pool_can_be_found_by_another_label() -> None:
    labels = {"nvidia.com/gpu.present": None, "nvidia.com/gpu.deploy.dcgm-exporter": "true"}
    pools = exporters({"exporter": {"pools": {"gpu": {"nodeSelector": labels}}}})
    node = {"kubernetes.io/os": "linux", "nvidia.com/gpu.deploy.dcgm-exporter": "true"}
    assert [name for name, daemonset in pools.items() if takes(daemonset, node)] == ["gpu"]


def test_the_edge_is_set_as_a_gateway_of_systemd_is() -> None:
    made = config(render({"exporter": {"pools": {"edge": {"enabled": True}}}}), "edge")
    gateway = yaml.safe_load((ROOT / "exporter/systemd/gateway.yaml").read_text())
    # The kubelet asks how it is; elsewhere nobody does.
    assert gateway.pop("web") == {"listen_address": ""}
    # What is taken where nobody says: [auto].
    assert gateway.pop("sources") == ["auto"]
    del gateway["otlp"]["endpoint"], made["otlp"]["endpoint"]
    assert gateway.items() <= made.items()


@pytest.mark.parametrize("values", [{}, EVERYTHING, NOBODY], ids=["plain", "everything", "nobody"])
def test_the_exporter_takes_its_configuration(values: Json, tmp_path: Path) -> None:
    objects = render(values)
    (tmp_path / "web.yml").write_text("rate_limit: {interval: 1s, burst: 20}\n")
    for pool, daemonset in exporters(values).items():
        text = json.dumps(config(objects, pool)).replace("/etc/wattshed/web/", f"{tmp_path}/")
        (tmp_path / "config.yaml").write_text(text)
        told = {k: v for k, v in environ(daemonset).items() if k.startswith("WATTSHED")}
        told = {k: v if isinstance(v, str) else "from-elsewhere" for k, v in told.items()}
        told["WATTSHED_CONFIG"] = str(tmp_path / "config.yaml")
        args = container(daemonset).get("args", [])
        loaded = load(Config, args, told, prog="wattshed-exporter")
        assert loaded.node == "from-elsewhere"
        assert loaded.state_dir == Path("/var/lib/wattshed")
        assert loaded.web.listen_address == ":9741"
        assert loaded.roots.procfs == Path("/host/proc")
        assert (loaded.site, loaded.cluster) == (("hall-2", "energy") if args else ("", ""))


def test_it_pushes_to_this_charts_collector_with_its_token() -> None:
    assert config(render(), "gpu")["otlp"] == {
        "endpoint": "http://w-wattshed-collector.energy.svc:9740"
    }
    for daemonset in exporters().values():
        token = environ(daemonset)["WATTSHED_OTLP_TOKEN"]["secretKeyRef"]
        assert token == {"name": "w-wattshed-tokens", "key": "ingest"}


def test_it_trusts_the_authority_of_a_collector_with_tls() -> None:
    values: Json = {
        "collector": {
            "tls": {"enabled": True, "existingSecret": "cert", "caKey": "authority"},
            "tokens": {"existingSecret": "words"},
        }
    }
    node = exporters(values)["node"]
    made = config(render(values), "node")["otlp"]
    assert made["endpoint"] == "https://w-wattshed-collector.energy.svc:9740"
    volumes = {v["name"]: v for v in pod(node)["volumes"]}
    item = {"key": "authority", "path": "ca.crt"}
    assert volumes["ca"]["secret"] == {"secretName": "cert", "items": [item]}
    token = environ(node)["WATTSHED_OTLP_TOKEN"]["secretKeyRef"]
    assert token == {"name": "words", "key": "ingest"}


def test_or_to_another_one() -> None:
    made = config(render(EVERYTHING), "gpu")["otlp"]
    assert made["endpoint"] == "https://collector.example:9740"
    volumes = {v["name"]: v for v in pod(exporters(EVERYTHING)["gpu"])["volumes"]}
    assert volumes["ca"]["secret"] == {
        "secretName": "trust",
        "items": [{"key": "root.pem", "path": "ca.crt"}],
    }
    mounts = {m["mountPath"] for m in container(exporters(EVERYTHING)["gpu"])["volumeMounts"]}
    for file in ("ca_file", "cert_file", "key_file"):
        assert str(Path(made[file]).parent) in mounts
    token = environ(exporters(EVERYTHING)["gpu"])["WATTSHED_OTLP_TOKEN"]["secretKeyRef"]
    assert token == {"name": "push", "key": "word"}
    open_: Json = {"exporter": {"otlp": {"endpoint": "http://collector.example:9740"}}}
    assert "WATTSHED_OTLP_TOKEN" not in environ(exporters(open_)["gpu"])


def test_a_secret_does_not_go_into_the_configuration() -> None:
    with pytest.raises(HelmError, match="'token' not allowed"):
        render({"exporter": {"config": {"otlp": {"token": "x"}}}})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"pools": {"gpu": {"nodeSelectr": {}}}}, "'nodeSelectr' not allowed"),
        ({"pools": {"gpu": {"rbac": {}}}}, "'rbac' not allowed"),
        ({"pools": {"New": {"nodeSelector": {"a": "b"}}}}, "New"),
        ({"config": {"interval_second": 1}}, "'interval_second' not allowed"),
        ({"spool": {"type": "disk"}}, "spool/type"),
        ({"image": {"digest": "latest"}}, "digest"),
    ],
)
def test_a_mistake_is_named(values: Json, said: str) -> None:
    with pytest.raises(HelmError, match=said):
        render({"exporter": values})


def test_a_folder_of_the_node_is_no_spool_for_nobody() -> None:
    with pytest.raises(HelmError, match=r"needs exporter\.spool\.type emptyDir or none"):
        render({"exporter": {"permissionInitContainer": {"enabled": True}}})


def test_its_group_and_nobody_else_may_read_the_counters(tmp_path: Path) -> None:
    """Whoever reads them often enough sees what the processor computes."""
    (init,) = pod(exporters(NOBODY)["node"])["initContainers"]
    (*_, script) = init["command"]
    assert {"/host/virtual", "10001"} <= set(re.findall(r"[\w/]+", script))
    counter, name = (
        tmp_path / "powercap/intel-rapl/intel-rapl:0" / n for n in ("energy_uj", "name")
    )
    counter.parent.mkdir(parents=True)
    for file in (counter, name):
        file.touch(0o400)
    script = script.replace("/host/virtual", str(tmp_path)).replace("10001", str(os.getgid()))
    subprocess.run([sys.executable, "-c", script], check=True)
    assert stat.S_IMODE(counter.stat().st_mode) == 0o440
    assert stat.S_IMODE(name.stat().st_mode) == 0o400


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_kubernetes_knows_every_field(version: str, schemas: Callable[[str], Schemas]) -> None:
    old: Json = {"recursiveReadOnly": ""} if version == "1.29" else {}
    everything = {**EVERYTHING, "exporter": {**EVERYTHING["exporter"], **old}}
    nobody = {"exporter": {**NOBODY["exporter"], **old}}
    for manifest in itertools.chain(render(everything), render(nobody)):
        if manifest["metadata"]["labels"]["app.kubernetes.io/component"] == "exporter":
            assert schemas(version).problems(manifest) == []
