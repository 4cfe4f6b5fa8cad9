"""The stand-in for an API server refuses what a real one refuses, and remembers the rest."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any

import pytest
from tests.fixtures.kube_server import Cluster, Refused
from tests.fixtures.kube_server.patches import apply, merge, strategic
from tests.fixtures.kube_server.selectors import fields_select, selects

Json = dict[str, Any]
LABELS = {"app": "x"}
APPLY = "application/apply-patch+yaml"
STRATEGIC = "application/strategic-merge-patch+json"


def ask(cluster: Cluster, method: str, path: str, body: Json | None = None, kind: str = "") -> Json:
    connection = http.client.HTTPConnection("127.0.0.1", cluster.server_port)
    headers = {"Content-Type": kind or "application/json"}
    connection.request(method, path, json.dumps(body) if body else None, headers)
    answer = connection.getresponse()
    told: Json = json.loads(answer.read())
    connection.close()
    return told


def workload(kind: str, name: str = "w", **spec: Any) -> Json:
    pod = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "a", "image": "x:1"}]}}
    made = {"selector": {"matchLabels": LABELS}, "template": pod, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": made}


def put(cluster: Cluster, manifest: Json, namespace: str = "energy") -> Json:
    key = cluster.key(manifest["kind"], manifest["metadata"]["name"], namespace)
    made = cluster.store.patch(key, APPLY, manifest, "test")
    cluster.controllers.settle()
    return made


def test_discovery_tells_the_kinds_that_are_served(cluster: Cluster) -> None:
    names = {group["name"] for group in ask(cluster, "GET", "/apis")["groups"]}
    assert {"apps", "monitoring.coreos.com", "clickhouse.altinity.com"} <= names
    monitors = ask(cluster, "GET", "/apis/monitoring.coreos.com/v1")["resources"]
    assert {"ServiceMonitor", "PrometheusRule"} <= {each["kind"] for each in monitors}
    assert ask(cluster, "GET", "/apis/unheard.of/v1/things")["code"] == 404


def test_objects_live_over_http(cluster: Cluster) -> None:
    path = "/api/v1/namespaces/energy/configmaps"
    made = ask(
        cluster,
        "POST",
        path,
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "c", "labels": LABELS},
            "data": {"a": "1"},
        },
    )
    assert made["metadata"]["uid"]
    again = ask(cluster, "PATCH", f"{path}/c", {"data": {"b": "2"}}, STRATEGIC)
    assert again["data"] == {"a": "1", "b": "2"}
    assert int(again["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    assert len(ask(cluster, "GET", f"{path}?labelSelector=app%3Dx")["items"]) == 1
    assert ask(cluster, "GET", f"{path}?labelSelector=app%3Dy")["items"] == []
    stale = ask(cluster, "PUT", f"{path}/c", made)
    assert (stale["code"], stale["reason"]) == (409, "Conflict")
    ask(cluster, "DELETE", f"{path}/c?dryRun=All")
    assert ask(cluster, "GET", f"{path}/c")["data"] == {"a": "1", "b": "2"}
    ask(cluster, "DELETE", f"{path}/c")
    assert ask(cluster, "GET", f"{path}/c")["message"] == 'configmaps "c" not found'


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        (
            "DaemonSet",
            {"selector": {"matchLabels": {"app": "y"}}},
            'DaemonSet.apps "w" is invalid: spec.selector: Invalid value: '
            '{"matchLabels":{"app":"y"}}: field is immutable',
        ),
        (
            "StatefulSet",
            {"serviceName": "other"},
            'StatefulSet.apps "w" is invalid: spec: Forbidden: updates to statefulset spec for '
            "fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
            "'minReadySeconds' are forbidden",
        ),
        (
            "StatefulSet",
            {"volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {}}]},
            "updates to statefulset spec for fields other than",
        ),
    ],
)
def test_what_may_not_change(cluster: Cluster, kind: str, changed: Json, message: str) -> None:
    named = {"serviceName": "s"} if kind == "StatefulSet" else {}
    put(cluster, workload(kind, **named))
    with pytest.raises(Refused) as refused:
        put(cluster, workload(kind, **{**named, **changed}))
    assert refused.value.code == 422
    assert message in refused.value.message


def test_a_job_keeps_its_template(cluster: Cluster) -> None:
    job = workload("Job")
    job["apiVersion"] = "batch/v1"
    del job["spec"]["selector"]
    job["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    put(cluster, job)
    job["spec"]["template"]["spec"]["containers"][0]["image"] = "x:2"
    with pytest.raises(Refused, match=r'Job.batch "w" is invalid: spec.template: .* is immutable'):
        put(cluster, job)


def test_a_workload_selects_its_own_pods(cluster: Cluster) -> None:
    with pytest.raises(Refused, match="`selector` does not match template `labels`"):
        put(cluster, workload("DaemonSet", selector={"matchLabels": {"app": "y"}}))


def test_a_misspelt_field_is_refused(cluster: Cluster) -> None:
    with pytest.raises(Refused, match="'replica' was unexpected"):
        put(cluster, workload("StatefulSet", replica=2))


def test_pods_need_what_they_refer_to(cluster: Cluster) -> None:
    manifest = workload("StatefulSet", serviceName="s")
    wanted = {"secretKeyRef": {"name": "t", "key": "ingest"}}
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "TOKEN", "valueFrom": wanted}
    ]
    put(cluster, manifest)

    def why() -> Any:
        status = (cluster.find("Pod", "energy", "w-0") or {})["status"]
        return [each["state"]["waiting"]["message"] for each in status.get("containerStatuses", ())]

    assert why() == ['secret "t" not found']
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "t"}}
    put(cluster, {**secret, "stringData": {"other": "x"}})
    assert why() == ["couldn't find key ingest in Secret energy/t"]
    put(cluster, {**secret, "stringData": {"ingest": "x"}})
    assert why() == []
    held = cluster.find("Secret", "energy", "t")
    assert held is not None
    assert held["data"] == {"ingest": base64.b64encode(b"x").decode()}
    workload_status = (cluster.find("StatefulSet", "energy", "w") or {})["status"]
    assert workload_status["readyReplicas"] == 1


def test_claims_outlive_their_workload(cluster: Cluster) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    put(cluster, workload("StatefulSet", serviceName="s", volumeClaimTemplates=[claim]))
    assert cluster.held() == {"StatefulSet/w", "Pod/w-0", "PersistentVolumeClaim/data-w-0"}
    cluster.store.delete(cluster.key("StatefulSet", "w", "energy"))
    assert cluster.held() == {"PersistentVolumeClaim/data-w-0"}


def test_a_namespace_refuses_pods_and_their_workload_is_not_ready(cluster: Cluster) -> None:
    cluster.add_namespace("tight", enforce="restricted")
    put(cluster, workload("DaemonSet"), "tight")
    status = (cluster.find("DaemonSet", "tight", "w") or {})["status"]
    assert (status["desiredNumberScheduled"], status["numberReady"]) == (1, 0)
    assert 'violates PodSecurity "restricted:latest"' in cluster.controllers.events[0]


def test_pods_need_their_account(cluster: Cluster) -> None:
    manifest = workload("DaemonSet")
    manifest["spec"]["template"]["spec"]["serviceAccountName"] = "exporter"
    put(cluster, manifest)
    assert 'serviceaccount "exporter" not found' in cluster.controllers.events[0]


def test_patches() -> None:
    old = {"a": 1, "list": [1], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
    assert merge(old, {"a": None, "list": [2]}) == {"list": [2], "env": old["env"]}
    changed = {"env": [{"name": "B", "value": "3"}, {"$patch": "delete", "name": "A"}]}
    assert strategic(old, changed)["env"] == [{"name": "B", "value": "3"}]
    live = {"spec": {"mine": 1, "theirs": 2}}
    assert apply(live, {"spec": {"mine": 1}}, {"spec": {"new": 3}}) == {
        "spec": {"theirs": 2, "new": 3}
    }


@pytest.mark.parametrize(
    ("selector", "meets"),
    [
        ("", True),
        ("app=x", True),
        ("app==x,tier!=db", True),
        ("app!=x", False),
        ("app in (w, x),!tier", True),
        ("app notin (x)", False),
        ("tier", False),
    ],
)
def test_label_selectors(selector: str, meets: bool) -> None:
    assert selects(selector, LABELS) is meets


def test_field_selectors() -> None:
    assert fields_select("metadata.name=a", {"metadata": {"name": "a"}})
    assert not fields_select("metadata.name!=a", {"metadata": {"name": "a"}})
