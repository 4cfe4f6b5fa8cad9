"""The custom resources that the chart makes, as closed JSON schemas of the fields that it may set.

Fields, types, patterns and enumerations are those of prometheus-operator v0.93.0
(``example/prometheus-operator-crd``) and grafana-operator v5.24.0 (``config/crd/bases``), read
there and written down anew; fields that the chart never sets are not here, so that one is found.
"""

from __future__ import annotations

from typing import Any

import jsonschema

Json = dict[str, Any]

STRING: Json = {"type": "string"}
FLAG: Json = {"type": "boolean"}
COUNT: Json = {"type": "integer", "minimum": 0}
TEXTS: Json = {"type": "object", "additionalProperties": STRING}
LENGTH: Json = {
    "type": "string",
    "pattern": "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?"
    "(([0-9]+)ms)?)$",
}
GO_LENGTH: Json = {"type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$"}
SIZE: Json = {"type": "string", "pattern": "(^0|([0-9]*[.])?[0-9]+((K|M|G|T|E|P)i?)?B)$"}
UID: Json = {"type": "string", "maxLength": 40, "pattern": "^[a-zA-Z0-9-_]+$"}
ACTIONS = [
    "replace", "keep", "drop", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase",
    "uppercase", "keepequal", "dropequal",
]  # fmt: skip


def closed(required: str = "", **fields: Json) -> Json:
    """Return the schema of an object with these fields and no others."""
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


def several(items: Json, least: int = 0) -> Json:
    return {"type": "array", "items": items, "minItems": least}


KEY = closed("key", name=STRING, key=STRING, optional=FLAG)
EITHER = closed(secret=KEY, configMap=KEY)
SELECTOR = closed(matchLabels=TEXTS)
RELABELINGS = several(
    closed(
        action={"enum": ACTIONS},
        modulus=COUNT,
        regex=STRING,
        replacement=STRING,
        separator=STRING,
        sourceLabels=several(STRING),
        targetLabel=STRING,
    )
)
TLS = closed(
    ca=EITHER,
    cert=EITHER,
    keySecret=KEY,
    serverName=STRING,
    insecureSkipVerify=FLAG,
    minVersion={"enum": ["TLS10", "TLS11", "TLS12", "TLS13"]},
    maxVersion={"enum": ["TLS10", "TLS11", "TLS12", "TLS13"]},
)
ENDPOINT = closed(
    port=STRING,
    path=STRING,
    scheme={"enum": ["http", "https", "HTTP", "HTTPS"]},
    interval=LENGTH,
    scrapeTimeout=LENGTH,
    honorLabels=FLAG,
    authorization=closed(type=STRING, credentials=KEY),
    basicAuth=closed(username=KEY, password=KEY),
    tlsConfig=TLS,
    relabelings=RELABELINGS,
    metricRelabelings=RELABELINGS,
)
MONITOR: Json = {
    "jobLabel": STRING,
    "podTargetLabels": several(STRING),
    "selector": SELECTOR,
    "namespaceSelector": closed(any=FLAG, matchNames=several(STRING)),
    "attachMetadata": closed(node=FLAG),
    "sampleLimit": COUNT,
    "targetLimit": COUNT,
    "labelLimit": COUNT,
    "labelNameLengthLimit": COUNT,
    "labelValueLengthLimit": COUNT,
    "keepDroppedTargets": COUNT,
    "bodySizeLimit": SIZE,
}
RULE = closed(
    "expr",
    alert=STRING,
    record=STRING,
    expr={"type": ["string", "integer"]},
    **{"for": LENGTH, "keep_firing_for": {**LENGTH, "minLength": 1}},
    labels=TEXTS,
    annotations=TEXTS,
)
GROUP = closed(
    "name",
    name={"type": "string", "minLength": 1},
    interval=LENGTH,
    query_offset=LENGTH,
    limit={"type": "integer"},
    labels=TEXTS,
    rules=several(RULE),
)
OPERATED: Json = {
    "instanceSelector": SELECTOR,
    "allowCrossNamespaceImport": FLAG,
    "resyncPeriod": GO_LENGTH,
}
DATASOURCE = closed(
    name=STRING,
    uid=STRING,
    type=STRING,
    url=STRING,
    user=STRING,
    database=STRING,
    access=STRING,
    orgId={"type": "integer"},
    isDefault=FLAG,
    editable=FLAG,
    basicAuth=FLAG,
    basicAuthUser=STRING,
    jsonData={"type": "object"},
    secureJsonData={"type": "object"},
)
PLUGIN = closed(
    "name version",
    name={"type": "string", "minLength": 1},
    version={"type": "string", "pattern": "^([0-9]+\\.[0-9]+\\.[0-9]+([-+].+)?|latest)$"},
)
VALUE_FROM = closed("targetPath valueFrom", targetPath=STRING, valueFrom=closed(secretKeyRef=KEY))

ALERT_RULE = closed(
    "condition data execErrState for noDataState title uid",
    **{"for": {"type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(s|m|h|d|w))+$"}},
    uid=UID,
    title={"type": "string", "minLength": 1, "maxLength": 190},
    condition=STRING,
    data=several(
        closed(
            refId=STRING,
            queryType=STRING,
            datasourceUid=STRING,
            relativeTimeRange={"type": "object", "additionalProperties": {"type": "integer"}},
            model={"type": "object"},
        )
    ),
    dashboardUid=STRING,
    noDataState={"enum": ["Alerting", "NoData", "OK", "KeepLast"]},
    execErrState={"enum": ["OK", "Alerting", "Error", "KeepLast"]},
    keepFiringFor=GO_LENGTH,
    annotations=TEXTS,
    labels=TEXTS,
    isPaused=FLAG,
)

PROMETHEUS, GRAFANA = "monitoring.coreos.com/v1", "grafana.integreatly.org/v1beta1"
SPECS: dict[tuple[str, str], Json] = {
    (PROMETHEUS, "ServiceMonitor"): closed(
        "endpoints selector",
        **MONITOR,
        targetLabels=several(STRING),
        endpoints=several(ENDPOINT, 1),
    ),
    (PROMETHEUS, "PodMonitor"): closed(
        "selector", **MONITOR, podMetricsEndpoints=several(ENDPOINT, 1)
    ),
    (PROMETHEUS, "PrometheusRule"): closed(groups=several(GROUP)),
    (GRAFANA, "GrafanaDashboard"): closed(
        "instanceSelector", **OPERATED, folderRef=STRING, configMapRef=KEY, uid=UID
    ),
    (GRAFANA, "GrafanaFolder"): closed("instanceSelector", **OPERATED, title=STRING, uid=UID),
    (GRAFANA, "GrafanaAlertRuleGroup"): closed(
        "instanceSelector interval rules",
        **OPERATED,
        name=STRING,
        folderRef=STRING,
        interval=GO_LENGTH,
        rules=several(ALERT_RULE, 1),
    ),
    (GRAFANA, "GrafanaDatasource"): closed(
        "instanceSelector datasource",
        **OPERATED,
        datasource=DATASOURCE,
        plugins=several(PLUGIN),
        valuesFrom={**several(VALUE_FROM), "maxItems": 99},
        uid=UID,
    ),
}


def check(manifest: Json) -> None:
    """Hold a resource against its CRD; raises ValidationError, KeyError for no kind of ours."""
    spec = SPECS[manifest["apiVersion"], manifest["kind"]]
    metadata = closed(
        "name namespace", name=STRING, namespace=STRING, labels=TEXTS, annotations=TEXTS
    )
    whole = closed(
        "apiVersion kind metadata spec",
        apiVersion=STRING,
        kind=STRING,
        metadata=metadata,
        spec=spec,
    )
    jsonschema.Draft7Validator(whole).validate(manifest)
