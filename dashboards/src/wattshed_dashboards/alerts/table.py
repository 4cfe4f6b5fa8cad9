"""docs/ALERTS.md: every alert and every signal, as tables."""

from __future__ import annotations

from . import expression, length
from .catalogue import Alert, Catalogue, Signal

_RUNBOOKS = "../dashboards/runbooks"
_INTRO = """\
# Alerts

Written by `make docs` from `dashboards/alerts/alerts.yaml`; edit that. From the same file come
`dashboards/alerts/prometheus/` (a rule file, and a PrometheusRule for the operator),
`dashboards/provisioning/alerting/` (Grafana) and the rules' unit tests.

An alert fires once its signal was above a threshold for a while, and holds until the signal was
below the lower threshold for a while. `wattshed alerts compile` writes the rules with a site's own
thresholds and the address at which people reach the collector, which serves runbooks and boards:

```console
$ wattshed alerts compile --url https://watts.example.org --set GPUIdleBurn.fire_above=80
```

Rules of Grafana look at the 500 largest values of a signal, which is as many as Amazon's Grafana
takes of one rule; the gauges on `/metrics` have up to 10,000 series of each signal.

Idleness that is meant, such as a warm standby, is said with `wattshed expected-idle add`: it wakes
nobody until it ends, and is counted as waste all the same.

An example of routing, grouping and muting is `dashboards/alerts/alertmanager.example.yml`. The
label `audience` says who is meant: the `owner` of the workload, the `team`, or `operations`.

## On Kubernetes

The Helm chart makes a PrometheusRule of the same rules (`alerts.enabled`), with a site's own wishes
as values. A test holds what it renders against `wattshed alerts compile`.

```yaml
serviceMonitor:                            # the gauges that the alerts are about
  additionalLabels: {release: monitoring}  # kube-prometheus-stack looks for the name of its release
  collector: {enabled: true}
podMonitor:                                # for CounterReset, and Prometheus' own graphs of devices
  additionalLabels: {release: monitoring}
  exporter: {enabled: true}
alerts:
  enabled: true
  additionalLabels: {release: monitoring}
  url: https://watts.example.org           # else the first host of collector.ingress or the Service
  rules:
    GPUIdleBurn: {fireAbove: 80, for: 1h, labels: {team: ml}}
    ParkedModel: {enabled: false}
grafana:
  url: https://grafana.example.org         # alerts then lead to the boards there
```

With labels or without: the operator's Prometheus takes what its `serviceMonitorSelector`,
`podMonitorSelector` and `ruleSelector` say, and nothing else. A Prometheus that no operator runs
scrapes by discovery of its own and loads what `wattshed alerts compile` writes. The collector wants
a token with the role `metrics`: the chart's is in the Secret `<release>-wattshed-tokens` under
`metrics`.

In place of Prometheus, Grafana itself can ask: `grafana.alerts.enabled` for the sidecar of its
chart, `grafana.alerts.operator.enabled` for grafana-operator. Both at once tell everybody twice.
"""


def markdown(catalogue: Catalogue) -> str:
    """Return the page."""
    lines = [_INTRO]
    for group, alerts in catalogue.groups().items():
        lines += [f"## {group.capitalize()}", "", *_alerts(alerts), ""]
    lines += ["## Signals", "", *_signals(catalogue)]
    return "\n".join(lines) + "\n"


def _alerts(alerts: list[Alert]) -> list[str]:
    head = ["| alert | fires above | clears below | for | keeps | severity | audience | engines |"]
    return [*head, "|---|---|---|---|---|---|---|---|", *map(_row, alerts)]


def _row(alert: Alert) -> str:
    cells = [
        f"[{alert.name}]({_RUNBOOKS}/{alert.name}.md)",
        alert.number(alert.fire_above),
        alert.number(alert.clear_below),
        length.text(alert.for_s),
        length.text(alert.keep_firing_for_s),
        str(alert.severity),
        alert.labels.get("audience", ""),
        engines(alert.signal),
    ]
    return f"| {' | '.join(cells)} |"


def engines(signal: Signal) -> str:
    """Return which engines can tell of the signal."""
    return "Prometheus, Grafana" if expression.sql(signal) else "Prometheus"


def _signals(catalogue: Catalogue) -> list[str]:
    head = ["| signal | gauge | view | labels | meaning |", "|---|---|---|---|---|"]
    return head + [
        f"| {s.name} | {_code(s.metric or s.expr)} | {_code(s.view)} | {', '.join(s.labels)} "
        f"| {s.help} |"
        for s in catalogue.signals.values()
    ]


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
