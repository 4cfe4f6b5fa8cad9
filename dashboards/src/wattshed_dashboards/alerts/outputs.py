"""The files that are made from the catalogue, as text; nobody edits them."""

from __future__ import annotations

from typing import Any

import yaml

from . import grafana, prometheus, promtool, table
from .catalogue import Catalogue

Json = dict[str, Any]
HEAD = "# Made by scripts/generate_dashboards.py from dashboards/alerts/alerts.yaml: edit that.\n"


def folders(catalogue: Catalogue) -> dict[tuple[str, str], dict[str, str]]:
    """Return texts by file name, of each folder below ``dashboards`` and suffix that is ours."""
    by_group = prometheus.by_group(catalogue)
    return {
        ("alerts/prometheus", ".yml"): {
            "prometheusrule.yml": document(prometheus.manifest(catalogue)),
            **{f"{name}.rules.yml": document(rules) for name, rules in by_group.items()},
        },
        ("alerts/tests", ".test.yml"): {
            f"{name}.test.yml": document(promtool.tests(alerts, f"../prometheus/{name}.rules.yml"))
            for name, alerts in catalogue.groups().items()
        },
        ("provisioning/alerting", "rules.yaml"): {
            "wattshed-rules.yaml": document(grafana.rules(catalogue))
        },
        ("../docs", "ALERTS.md"): {"ALERTS.md": table.markdown(catalogue)},
    }


def document(content: Json) -> str:
    """Return YAML as people write it, under a line that says where it comes from."""
    return HEAD + text(content)


def text(content: Json) -> str:
    """Return YAML: keys in order, texts of several lines as blocks, nothing by reference."""
    return yaml.dump(content, Dumper=_Plain, sort_keys=False, width=10_000, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Plain.add_representer(str, _text)
