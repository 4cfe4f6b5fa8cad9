"""Objects of Kubernetes to the labels that Prometheus gives them.

Of an endpoint slice's pod only the name is told, and of its service as well: their labels would
need two more watches. Source:
https://prometheus.io/docs/prometheus/latest/configuration/configuration/#kubernetes_sd_config
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
Labels = dict[str, str]
META = "__meta_kubernetes_"
SERVICE = "kubernetes.io/service-name"


def source(value: Any) -> str | None:
    """Return namespace/name of an object, None where it has none."""
    metadata = _dict(_dict(value).get("metadata"))
    name = _text(metadata.get("name"))
    return f"{_text(metadata.get('namespace'))}/{name}" if name else None


def pod(value: Json) -> list[Labels]:
    """Return a target for each port that a container declares, else one for the container."""
    metadata, spec, status = (_dict(value.get(n)) for n in ("metadata", "spec", "status"))
    address = _text(status.get("podIP"))
    if not address:
        return []
    told = {
        **_described(metadata, "pod"),
        f"{META}pod_name": _text(metadata.get("name")),
        f"{META}pod_ip": address,
        f"{META}pod_uid": _text(metadata.get("uid")),
        f"{META}pod_ready": _ready(status),
        f"{META}pod_phase": _text(status.get("phase")),
        f"{META}pod_node_name": _text(spec.get("nodeName")),
        f"{META}pod_host_ip": _text(status.get("hostIP")),
        **_controller(metadata),
    }
    ids = {
        _text(state.get("name")): _text(state.get("containerID"))
        for key in ("containerStatuses", "initContainerStatuses")
        for state in _dicts(status.get(key))
    }
    return [
        {**told, **labels}
        for key in ("containers", "initContainers")
        for container in _dicts(spec.get(key))
        for labels in _ports(container, address, ids, initial=key != "containers")
    ]


def _ports(container: Json, address: str, ids: Labels, *, initial: bool) -> Iterator[Labels]:
    name = _text(container.get("name"))
    told = {
        f"{META}pod_container_name": name,
        f"{META}pod_container_id": ids.get(name, ""),
        f"{META}pod_container_image": _text(container.get("image")),
        f"{META}pod_container_init": _boolean(initial),
    }
    ports = _dicts(container.get("ports"))
    for port in ports:
        number = _text(port.get("containerPort"))
        yield {
            **told,
            "__address__": f"{_bracketed(address)}:{number}",
            f"{META}pod_container_port_name": _text(port.get("name")),
            f"{META}pod_container_port_number": number,
            f"{META}pod_container_port_protocol": _text(port.get("protocol")) or "TCP",
        }
    if not ports:
        yield {**told, "__address__": _bracketed(address)}


def endpointslice(value: Json) -> list[Labels]:
    """Return a target for each address and port of a slice."""
    metadata = _dict(value.get("metadata"))
    told = {
        **_described(metadata, "endpointslice"),
        f"{META}endpointslice_name": _text(metadata.get("name")),
        f"{META}endpointslice_address_type": _text(value.get("addressType")),
        f"{META}service_name": _text(_dict(metadata.get("labels")).get(SERVICE)),
    }
    return [
        {**told, **_port(port), **_endpoint(endpoint), "__address__": _joined(address, port)}
        for port in _dicts(value.get("ports"))
        for endpoint in _dicts(value.get("endpoints"))
        for address in endpoint.get("addresses") or []
        if isinstance(address, str)
    ]


def _port(port: Json) -> Labels:
    return {
        f"{META}endpointslice_port": _text(port.get("port")),
        f"{META}endpointslice_port_name": _text(port.get("name")),
        f"{META}endpointslice_port_protocol": _text(port.get("protocol")),
        f"{META}endpointslice_port_app_protocol": _text(port.get("appProtocol")),
    }


def _joined(address: str, port: Json) -> str:
    number = _text(port.get("port"))
    return f"{_bracketed(address)}:{number}" if number else _bracketed(address)


def _endpoint(endpoint: Json) -> Labels:
    prefix, conditions = f"{META}endpointslice_", _dict(endpoint.get("conditions"))
    told = {
        f"{prefix}endpoint_conditions_{name}": _boolean(conditions[name])
        for name in ("ready", "serving", "terminating")
        if isinstance(conditions.get(name), bool)
    }
    for name, key in (("hostname", "hostname"), ("node_name", "nodeName"), ("zone", "zone")):
        told[f"{prefix}endpoint_{name}"] = _text(endpoint.get(key))
    target = _dict(endpoint.get("targetRef"))
    kind, name = _text(target.get("kind")), _text(target.get("name"))
    told |= {f"{prefix}address_target_kind": kind, f"{prefix}address_target_name": name}
    if kind == "Pod":
        told |= {f"{META}pod_name": name, f"{META}pod_uid": _text(target.get("uid"))}
    return told


def _described(metadata: Json, kind: str) -> Labels:
    """Return the namespace, the labels and the annotations of an object."""
    told = {f"{META}namespace": _text(metadata.get("namespace"))}
    for key, word in (("labels", "label"), ("annotations", "annotation")):
        for name, text in _dict(metadata.get(key)).items():
            plain = re.sub(r"[^a-zA-Z0-9_]", "_", str(name))
            told[f"{META}{kind}_{word}_{plain}"] = _text(text)
            told[f"{META}{kind}_{word}present_{plain}"] = "true"
    return told


def _controller(metadata: Json) -> Labels:
    for owner in _dicts(metadata.get("ownerReferences")):
        if owner.get("controller") is True:
            kind, name = _text(owner.get("kind")), _text(owner.get("name"))
            return {f"{META}pod_controller_kind": kind, f"{META}pod_controller_name": name}
    return {}


def _ready(status: Json) -> str:
    for condition in _dicts(status.get("conditions")):
        if condition.get("type") == "Ready":
            return _text(condition.get("status")).lower()
    return "unknown"


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
