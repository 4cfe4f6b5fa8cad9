"""The chart with each file of ``ci/``: valid in every Kubernetes, careful, complete."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import jsonschema
import pytest
from helm_python import lint
from tests.fixtures.kube_server.kinds import BUILT_IN, OPERATORS
from tests.fixtures.kube_server.pod_security import violations
from tests.fixtures.kube_server.schemas import VERSIONS, Schemas
from tests.fixtures.kube_server.selectors import selects
from tests.helm import clickhouse_crds, crds
from tests.helm.chart import CHART, Manifest, render
from tests.helm.releases import NAMES, component, containers, pods, release, values

each_release = pytest.mark.parametrize("name", NAMES)
IMAGE = re.compile(r"[\w.:-]+(/[\w.-]+)+(:[\w][\w.-]*|@sha256:[0-9a-f]{64})")
LABELS = {
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "app.kubernetes.io/version",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
}
CHANGING = ("app.kubernetes.io/version", "helm.sh/chart", "app.kubernetes.io/managed-by")
# What an exporter needs beyond Pod Security's `restricted`; docs/INSTALL-KUBERNETES.md says why.
NEEDS = {"hostPath volumes", "restricted volume types", "runAsNonRoot != true", "runAsUser=0"}
NEEDS_MORE = {"gpu": {"host namespaces"}}


def test_there_are_the_releases_that_the_documents_name() -> None:
    assert {"default", "external", "altinity", "operator", "gpu", "edge", "locked-down"} <= {*NAMES}


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_every_object_is_valid(version: str, schemas: Callable[[str], Schemas]) -> None:
    """For the oldest, which takes a few fields less, all are installed: test_installs.py."""
    of_version = schemas(version)
    distinct = {json.dumps(o, sort_keys=True): (n, o) for n in NAMES for o in release(n)}
    wrong = [
        f"{name}: {o['kind']} {o['metadata']['name']}: {problem}"
        for name, o in distinct.values()
        if of_version.knows(o["kind"], o["apiVersion"])
        for problem in of_version.problems(o)
    ]
    assert wrong == []


@each_release
def test_every_kind_is_known(name: str, schemas: Callable[[str], Schemas]) -> None:
    """What Kubernetes has no schema of is an operator's."""
    custom = {(kind.name, kind.api_version) for kind in OPERATORS}
    built_in = {(kind.name, kind.api_version) for kind in BUILT_IN}
    used = {(o["kind"], o["apiVersion"]) for o in release(name)}
    assert used <= custom | built_in
    assert all(schemas(VERSIONS[0]).knows(*each) for each in used - custom)


@each_release
def test_custom_resources_are_as_their_operators_take_them(name: str) -> None:
    custom = {(kind.api_version, kind.name) for kind in OPERATORS}
    for each in release(name):
        kind = each["apiVersion"], each["kind"]
        if kind in clickhouse_crds.SPECS:
            jsonschema.validate(each["spec"], clickhouse_crds.SPECS[kind])
        elif kind in custom:
            crds.check(each)


@each_release
def test_lint_has_nothing_to_say(name: str) -> None:
    report = lint(str(CHART), values(name), strict=True, kube_version="v1.29.0")
    assert report["errors"] == []
    assert [m for m in report["messages"] if m["severity"] > 1] == []


@each_release
def test_nothing_is_there_twice(name: str) -> None:
    keys = [
        (o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in release(name)
    ]
    assert len(keys) == len(set(keys))


@each_release
def test_all_but_the_exporter_pass_restricted(name: str) -> None:
    needed: set[str] = set()
    for workload, pod in pods(release(name)):
        found = violations(pod["spec"], "restricted")
        if component(workload) == "exporter":
            needed |= found.keys()
        else:
            assert found == {}, workload["metadata"]["name"]
    assert needed == NEEDS | NEEDS_MORE.get(name, set())


def test_the_exporter_breaks_baseline_by_host_paths_alone() -> None:
    for workload, pod in pods(release("default")):
        if component(workload) == "exporter":
            assert violations(pod["spec"], "baseline").keys() == {"hostPath volumes"}


@each_release
def test_host_paths_are_read_only(name: str) -> None:
    """But for the exporter's own folder, where it spools."""
    for _, pod in pods(release(name)):
        paths = {
            v["name"]: v["hostPath"]["path"]
            for v in pod["spec"].get("volumes", ())
            if "hostPath" in v
        }
        for container in pod["spec"]["containers"]:
            for mount in container.get("volumeMounts", ()):
                written = mount["name"] in paths and not mount.get("readOnly")
                assert not written or paths[mount["name"]].startswith("/var/lib/wattshed")


@each_release
def test_every_container_is_careful(name: str) -> None:
    for workload, pod in pods(release(name)):
        for container in containers(pod):
            where = f"{workload['metadata']['name']}/{container['name']}"
            assert IMAGE.fullmatch(container["image"]), where
            assert not container["image"].endswith(":latest"), where
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), where
            assert "memory" in resources["limits"], where
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, where
            assert context["allowPrivilegeEscalation"] is False, where


@each_release
def test_what_runs_is_probed(name: str) -> None:
    for workload, pod in pods(release(name)):
        if workload["kind"] not in ("DaemonSet", "StatefulSet"):
            continue
        for container in pod["spec"]["containers"]:
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
        if component(workload) == "collector":
            (collector,) = (c for c in pod["spec"]["containers"] if c["name"] == "collector")
            assert collector["livenessProbe"] != collector["readinessProbe"]


@each_release
def test_labels_are_complete_and_selectors_never_change(name: str) -> None:
    for each in release(name):
        assert each["metadata"]["labels"].keys() >= LABELS, each["metadata"]["name"]
        elsewhere = each["kind"] in ("Role", "RoleBinding")
        assert elsewhere or each["metadata"].get("namespace", "energy") == "energy"
    for workload, pod in pods(release(name)):
        if "selector" in workload.get("spec", {}):
            chosen = workload["spec"]["selector"]["matchLabels"]
            assert not set(chosen) & set(CHANGING)
            assert chosen.items() <= pod["metadata"]["labels"].items()


@each_release
def test_no_selector_takes_pods_of_another_part(name: str) -> None:
    """Services, budgets and workloads choose pods of one component, and of this release alone."""
    labels = [pod["metadata"]["labels"] for _, pod in pods(release(name))]
    for each in release(name):
        chosen = _chosen(each)
        if chosen is None:
            continue
        selector = ",".join(f"{k}={v}" for k, v in chosen.items())
        taken = [told for told in labels if selects(selector, told)]
        assert taken, f"{each['kind']} {each['metadata']['name']} selects nothing"
        assert len({told["app.kubernetes.io/component"] for told in taken}) == 1
        assert "app.kubernetes.io/instance" in chosen


def _chosen(manifest: Manifest) -> dict[str, str] | None:
    """Return the labels by which an object chooses pods, or None."""
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Service":
        return dict(spec["selector"])
    if manifest["kind"] in ("PodDisruptionBudget", "DaemonSet", "StatefulSet", "PodMonitor"):
        return dict(spec["selector"]["matchLabels"])
    if manifest["kind"] == "NetworkPolicy":
        return dict(spec["podSelector"]["matchLabels"])
    return None


@each_release
def test_services_name_ports_that_are_there(name: str) -> None:
    objects = release(name)
    ports = {
        port["name"]
        for _, pod in pods(objects)
        for c in pod["spec"]["containers"]
        for port in c.get("ports", ())
    }
    for each in objects:
        if each["kind"] == "Service":
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports


@each_release
def test_service_monitors_select_a_service_with_their_port(name: str) -> None:
    services = [o for o in release(name) if o["kind"] == "Service"]
    for monitor in (o for o in release(name) if o["kind"] == "ServiceMonitor"):
        chosen = monitor["spec"]["selector"]["matchLabels"].items()
        taken = [s for s in services if chosen <= s["metadata"]["labels"].items()]
        assert len(taken) == 1, "each target would be scraped more than once"
        named = {port["name"] for port in taken[0]["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= named


@each_release
def test_accounts_are_mounted_only_where_something_is_allowed(name: str) -> None:
    bound = {
        subject["name"]
        for o in release(name)
        if o["kind"] in ("RoleBinding", "ClusterRoleBinding")
        for subject in o["subjects"]
    }
    for workload, pod in pods(release(name)):
        mounted = pod["spec"].get("automountServiceAccountToken", True)
        assert not mounted or pod["spec"]["serviceAccountName"] in bound, workload["metadata"][
            "name"
        ]


@each_release
def test_roles_are_narrow(name: str) -> None:
    for role in (o for o in release(name) if o["kind"] in ("Role", "ClusterRole")):
        for rule in role["rules"]:
            assert set(rule["verbs"]) <= {"get", "list", "watch"}
            assert not {"secrets", "nodes/proxy", "*"} & {*rule["resources"], *rule["apiGroups"]}


@each_release
def test_what_is_kept_fits(name: str) -> None:
    """A ConfigMap or a Secret takes a MiB."""
    for each in release(name):
        if each["kind"] in ("ConfigMap", "Secret"):
            assert len(json.dumps(each)) < 1 << 20, each["metadata"]["name"]


def test_who_scales_says_no_replicas() -> None:
    objects = release("sharded")
    (scaler,) = (o for o in objects if o["kind"] == "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    (scaled,) = (
        o for o in objects if (o["kind"], o["metadata"]["name"]) == (target["kind"], target["name"])
    )
    assert "replicas" not in scaled["spec"]


def test_a_registry_of_ones_own_is_before_every_image() -> None:
    for _, pod in pods(release("locked-down")):
        assert [s["name"] for s in pod["spec"]["imagePullSecrets"]] == ["registry", "another"]
        for container in containers(pod):
            assert container["image"].startswith("registry.example.org/")
            assert "@sha256:" in container["image"]


@pytest.mark.parametrize("name", ["external", "altinity", "operator"])
def test_all_that_pulls_has_the_pull_secrets(name: str) -> None:
    told = values(name) | {"global": {"imagePullSecrets": ["registry"]}}
    for workload, pod in pods(tuple(render(told))):
        assert pod["spec"].get("imagePullSecrets") == [{"name": "registry"}], workload["kind"]


def test_no_secret_is_made_where_all_are_given() -> None:
    made = {o["metadata"]["name"] for o in release("locked-down") if o["kind"] == "Secret"}
    assert made <= {"w-wattshed-security"}
