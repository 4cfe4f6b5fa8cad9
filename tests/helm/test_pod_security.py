"""Each control of the Pod Security Standards refuses a pod that breaks it, and no other."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.fixtures.kube_server.patches import strategic
from tests.fixtures.kube_server.pod_security import CONTROLS, refusal, violations

Json = dict[str, Any]
GOOD: Json = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "a",
            "image": "x:1",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
        }
    ],
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
}


def inside(**context: Any) -> Json:
    return {"containers": [{"name": "a", "securityContext": context}]}


def probing(host: Json) -> Json:
    return {"containers": [{"name": "a", "livenessProbe": host}]}


BASELINE: dict[str, list[Json]] = {
    "host namespaces": [{"hostNetwork": True}, {"hostPID": True}, {"hostIPC": True}],
    "privileged": [inside(privileged=True)],
    "non-default capabilities": [inside(capabilities={"add": ["SYS_ADMIN"]})],
    "hostPath volumes": [{"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}],
    "hostPort": [{"containers": [{"name": "a", "ports": [{"containerPort": 1, "hostPort": 1}]}]}],
    "probe or lifecycle host": [
        probing({"httpGet": {"host": "10.0.0.1", "port": 1}}),
        probing({"tcpSocket": {"host": "10.0.0.1", "port": 1}}),
        {"containers": [{"name": "a", "lifecycle": {"preStop": {"httpGet": {"host": "h"}}}}]},
    ],
    "forbidden AppArmor profile": [inside(appArmorProfile={"type": "Unconfined"})],
    "seLinuxOptions": [
        inside(seLinuxOptions={"type": "spc_t"}),
        {"securityContext": {"seLinuxOptions": {"user": "root"}}},
    ],
    "procMount": [inside(procMount="Unmasked")],
    "seccompProfile": [
        inside(seccompProfile={"type": "Unconfined"}),
        {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
    ],
    "forbidden sysctls": [{"securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}}],
}
RESTRICTED: dict[str, list[Json]] = {
    "restricted volume types": [{"volumes": [{"name": "n", "nfs": {"server": "s", "path": "/"}}]}],
    "allowPrivilegeEscalation != false": [inside(allowPrivilegeEscalation=None)],
    "runAsNonRoot != true": [
        {"securityContext": {"runAsNonRoot": None}},
        inside(runAsNonRoot=False),
    ],
    "runAsUser=0": [inside(runAsUser=0), {"securityContext": {"runAsUser": 0}}],
    "seccompProfile": [{"securityContext": {"seccompProfile": None}}],
    "unrestricted capabilities": [
        inside(capabilities={"drop": None}),
        inside(capabilities={"add": ["CHOWN"]}),
    ],
}


def broken(how: Json) -> Json:
    return strategic(copy.deepcopy(GOOD), how)


def test_a_careful_pod_may_run_anywhere() -> None:
    assert violations(GOOD, "restricted") == {}
    assert refusal("a", GOOD, "restricted") == ""


@pytest.mark.parametrize("reason", BASELINE)
def test_baseline_refuses(reason: str) -> None:
    for how in BASELINE[reason]:
        assert list(violations(broken(how), "baseline")) == [reason], how
        assert reason in violations(broken(how), "restricted")
        assert violations(broken(how), "privileged") == {}


@pytest.mark.parametrize("reason", RESTRICTED)
def test_restricted_refuses_what_baseline_takes(reason: str) -> None:
    for how in RESTRICTED[reason]:
        assert violations(broken(how), "baseline") == {}
        assert list(violations(broken(how), "restricted")) == [reason], how


def test_every_control_has_a_pod_that_breaks_it() -> None:
    for control in CONTROLS:
        examples = (BASELINE if control.level == "baseline" else RESTRICTED)[control.reason]
        assert any(list(control.broken(broken(how))) for how in examples), control


def test_containers_that_only_begin_a_pod_are_looked_at() -> None:
    pod = broken({"initContainers": [{"name": "first", "securityContext": {"privileged": True}}]})
    assert violations(pod, "baseline") == {
        "privileged": ['container "first" must not set securityContext.privileged=true']
    }


def test_a_refusal_says_what_to_change() -> None:
    assert refusal("a", broken(inside(allowPrivilegeEscalation=True)), "restricted") == (
        'pods "a" is forbidden: violates PodSecurity "restricted:latest": '
        "allowPrivilegeEscalation != false "
        '(container "a" must set securityContext.allowPrivilegeEscalation=false)'
    )
