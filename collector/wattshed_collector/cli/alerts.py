"""``wattshed alerts``: the alerts that are shipped, and their rules for Prometheus and Grafana."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import yaml

from wattshed_dashboards.alerts import Alert, Catalogue, grafana, length, load, outputs, prometheus
from wattshed_dashboards.alerts.described import described, lines
from wattshed_dashboards.alerts.wording import COLLECTOR_URL
from wattshed_exporter.errors import ConfigError

from . import shown

Subparsers = argparse._SubParsersAction
Compiler = Callable[[Catalogue, str, int], dict[str, Any]]

COMPILERS: Mapping[str, Compiler] = MappingProxyType(
    {
        "prometheus": prometheus.rules,
        "prometheusrule": prometheus.manifest,
        "grafana": grafana.rules,
    }
)
COMPILE_EXAMPLES = """examples:
  wattshed alerts compile > /etc/prometheus/wattshed.rules.yml
  wattshed alerts compile --format prometheusrule --url https://watts.example.org > rule.yaml
  wattshed alerts compile --format grafana > /etc/grafana/provisioning/alerting/wattshed-rules.yaml
  wattshed alerts compile --set GPUIdleBurn.fire_above=80 --set ParkedModel.enabled=false"""
LIST_EXAMPLES = """examples:
  wattshed alerts list
  wattshed alerts list --json | jq '.alerts[] | select(.severity == "critical") | .name'"""
EXPLAIN_EXAMPLES = """examples:
  wattshed alerts explain GPUIdleBurn
  wattshed alerts explain GPUIdleBurn --set GPUIdleBurn.for=1h"""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add ``alerts compile``, ``alerts list`` and ``alerts explain``."""
    command = commands.add_parser(
        "alerts", help="alerts, and their rules for Prometheus and Grafana"
    )
    parts = command.add_subparsers(metavar="COMMAND", required=True)
    compiled = _part(parts, "compile", "print the rules of all alerts", COMPILE_EXAMPLES)
    compiled.add_argument(
        "--format",
        choices=tuple(COMPILERS),
        default="prometheus",
        help="a rule file, the operator's PrometheusRule, or Grafana's provisioning "
        "(default: %(default)s)",
    )
    compiled.add_argument(
        "--interval", default="1m", metavar="LENGTH", help="between evaluations (default: 1m)"
    )
    compiled.set_defaults(run=run_compile)
    listed = _part(parts, "list", "every alert, its thresholds and whom it concerns", LIST_EXAMPLES)
    listed.set_defaults(run=run_list)
    explain = _part(parts, "explain", "what an alert means, and both its queries", EXPLAIN_EXAMPLES)
    explain.add_argument("name", metavar="NAME", help="the alert")
    explain.set_defaults(run=run_explain)


def _part(
    parts: Subparsers[argparse.ArgumentParser], name: str, help: str, examples: str
) -> argparse.ArgumentParser:
    command = parts.add_parser(
        name, help=help, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument(
        "--url",
        default=COLLECTOR_URL,
        help="where people reach the collector, for links to runbooks and boards "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="ALERT.KEY=VALUE",
        help="another fire_above, clear_below, for, keep_firing_for or severity, more labels, "
        "or enabled=false",
    )
    command.add_argument("--json", action="store_true", help="print JSON instead")
    return command


def run_compile(arguments: argparse.Namespace) -> None:
    """Print the rules."""
    try:
        interval_s = length.seconds(arguments.interval)
    except ValueError as error:
        raise ConfigError([f"--interval: {error}"]) from None
    catalogue = load(overrides=overrides(arguments.set))
    document = COMPILERS[arguments.format](catalogue, arguments.url, interval_s)
    print(json.dumps(document, indent=2) if arguments.json else outputs.text(document).rstrip())


def run_list(arguments: argparse.Namespace) -> None:
    """Print every alert."""
    catalogue = load(overrides=overrides(arguments.set))
    if arguments.json:
        found = [described(alert, arguments.url) for alert in catalogue.alerts]
        print(json.dumps({"alerts": found}, indent=2))
        return
    titles = ("alert", "severity", "for whom", "fires", "clears", "after")
    shown.table(titles, map(_cells, catalogue.alerts))


def run_explain(arguments: argparse.Namespace) -> None:
    """Print all that is known of one alert."""
    alert = load(overrides=overrides(arguments.set)).alert(arguments.name)
    if arguments.json:
        print(json.dumps(described(alert, arguments.url), indent=2))
        return
    print("\n".join(lines(alert, arguments.url)))


def overrides(texts: Sequence[str]) -> dict[str, dict[str, object]]:
    """Read ``Alert.key=value`` texts; raises ConfigError with each that is none."""
    found: dict[str, dict[str, object]] = {}
    problems = []
    for text in texts:
        path, _, value = text.partition("=")
        name, _, key = path.partition(".")
        if not (name and key and value):
            problems.append(f"--set {text}: must be like GPUIdleBurn.fire_above=80")
            continue
        try:
            found.setdefault(name, {})[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            problems.append(f"--set {text}: {value} is no YAML")
    if problems:
        raise ConfigError(problems)
    return found


def _cells(alert: Alert) -> tuple[str, ...]:
    return (
        alert.name,
        str(alert.severity),
        alert.labels.get("audience", ""),
        f"> {alert.number(alert.fire_above)}",
        f"< {alert.number(alert.clear_below)}",
        length.text(alert.for_s),
    )
