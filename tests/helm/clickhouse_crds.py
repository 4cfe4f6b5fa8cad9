"""What the ClickHouse operators' CRDs take, as far as the chart says anything of it.

Facts were read from the published CRDs, and are written anew, closed: a key that is not here is not
known to the operator either, or is none of the chart's. What is open here is open there as well.

* ClickHouseInstallation and ClickHouseKeeperInstallation: Altinity/clickhouse-operator 0.25.6,
  deploy/helm/clickhouse-operator/crds.
* ClickHouseCluster and KeeperCluster (v1alpha1): ClickHouse/clickhouse-operator at 581494e,
  config/crd/bases.

Specs of pods, claims, variables and resources are Kubernetes' own; ``pods`` gives them as pods and
claims, to be checked against that.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "integer"}
OPEN: Json = {"type": "object"}


def closed(**properties: Json) -> Json:
    """Return the schema of a mapping that has these keys alone."""
    return {"type": "object", "additionalProperties": False, "properties": properties}


def several(of: Json) -> Json:
    return {"type": "array", "items": of}


NAME: Json = {**TEXT, "pattern": "^[a-zA-Z0-9-]{0,15}$"}
SWITCH: Json = {"enum": ["", "0", "1", "false", "true", "no", "yes", "off", "on"]}
ALTINITY_TEMPLATES = closed(
    podTemplates=several(closed(name=TEXT, metadata=OPEN, spec=OPEN)),
    volumeClaimTemplates=several(
        closed(
            name=TEXT, reclaimPolicy={"enum": ["", "Retain", "Delete"]}, metadata=OPEN, spec=OPEN
        )
    ),
)
ALTINITY_DEFAULTS = closed(templates=closed(podTemplate=TEXT, dataVolumeClaimTemplate=TEXT))
INSTALLATION = closed(
    defaults=ALTINITY_DEFAULTS,
    configuration=closed(
        zookeeper=closed(nodes=several(closed(host=TEXT, port=NUMBER, secure=SWITCH))),
        users=OPEN,
        profiles=OPEN,
        settings=OPEN,
        clusters=several(
            closed(
                name=NAME,
                secret=closed(auto=SWITCH, value=TEXT),
                layout=closed(shardsCount=NUMBER, replicasCount=NUMBER),
            )
        ),
    ),
    templates=ALTINITY_TEMPLATES,
)
KEEPER_INSTALLATION = closed(
    defaults=ALTINITY_DEFAULTS,
    configuration=closed(
        settings=OPEN, clusters=several(closed(name=NAME, layout=closed(replicasCount=NUMBER)))
    ),
    templates=ALTINITY_TEMPLATES,
)
CONTAINER = closed(
    image=closed(repository=TEXT, tag=TEXT, hash=TEXT),
    imagePullPolicy={"enum": ["Always", "Never", "IfNotPresent"]},
    resources=OPEN,
    env=several(OPEN),
)
POD = closed(securityContext=OPEN, imagePullSecrets=several(closed(name=TEXT)))
LEVELS = ["test", "trace", "debug", "information", "notice", "warning", "error", "critical"]
LOGGER = closed(level={"enum": LEVELS}, logToFile={"type": "boolean"})
KEY = closed(name=TEXT, key=TEXT)
KEEPER_CLUSTER = closed(
    replicas={"enum": [0, 1, 3, 5, 7, 9, 11, 13, 15]},
    clusterDomain=TEXT,
    dataVolumeClaimSpec=OPEN,
    podTemplate=POD,
    containerTemplate=CONTAINER,
    settings=closed(logger=LOGGER, extraConfig=OPEN),
)
CLUSTER: Json = {
    **closed(
        replicas=NUMBER,
        shards=NUMBER,
        clusterDomain=TEXT,
        keeperClusterRef=closed(name=TEXT),
        dataVolumeClaimSpec=OPEN,
        podTemplate=POD,
        containerTemplate=CONTAINER,
        settings=closed(
            defaultUserPassword=closed(passwordType=TEXT, secret=KEY, configMap=KEY),
            logger=LOGGER,
            extraConfig=OPEN,
            extraUsersConfig=OPEN,
        ),
    ),
    "required": ["keeperClusterRef"],
}
SPECS = {
    ("clickhouse.altinity.com/v1", "ClickHouseInstallation"): INSTALLATION,
    ("clickhouse-keeper.altinity.com/v1", "ClickHouseKeeperInstallation"): KEEPER_INSTALLATION,
    ("clickhouse.com/v1alpha1", "ClickHouseCluster"): CLUSTER,
    ("clickhouse.com/v1alpha1", "KeeperCluster"): KEEPER_CLUSTER,
}


def pods(found: Json) -> list[Json]:
    """Return pods with what an operator's object says of pods, and claims with what it says of
    claims, for who knows Kubernetes' own fields."""
    spec = found["spec"]
    if "templates" in spec:
        specs = [t["spec"] for t in spec["templates"]["podTemplates"]]
        claims = [t["spec"] for t in spec["templates"]["volumeClaimTemplates"]]
    else:
        told = spec["containerTemplate"]
        container = {key: told[key] for key in ("env", "resources") if key in told}
        specs = [{**spec["podTemplate"], "containers": [{"name": "c", "image": "i", **container}]}]
        claims = [spec["dataVolumeClaimSpec"]]
    return [
        *({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": s} for s in specs),
        *(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {}, "spec": s}
            for s in claims
        ),
    ]
