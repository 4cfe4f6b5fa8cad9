"""Prometheus' own tool reads the rules and runs their unit tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from wattshed_dashboards import files
from wattshed_dashboards.alerts import load

ALERTS = files.root() / "alerts"
pytestmark = pytest.mark.skipif(
    not shutil.which("promtool"), reason="needs promtool (Debian package prometheus)"
)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_every_alert_fires_holds_and_clears() -> None:
    found = promtool("test", "rules", *sorted((ALERTS / "tests").glob("*.yml")))
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_alert_is_tested() -> None:
    firing: set[str] = set()
    for path in (ALERTS / "tests").glob("*.yml"):
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            firing |= {t["alertname"] for t in test["alert_rule_test"] if t["exp_alerts"]}
            firing |= {
                test["name"] for t in test.get("promql_expr_test", ()) if "firing" in t["expr"]
            }
    assert firing == {alert.name for alert in load().alerts}


def test_a_rule_that_fires_late_or_clears_early_is_found(tmp_path: Path) -> None:
    for part in ("prometheus", "tests"):
        shutil.copytree(ALERTS / part, tmp_path / part)
    rules = tmp_path / "prometheus" / "power.rules.yml"
    text = rules.read_text("utf-8")
    for right, wrong in (("for: 5m", "for: 6m"), (">= 0.95", ">= 0.99"), ("> 1\n", "> 1.6\n")):
        assert right in text
        rules.write_text(text.replace(right, wrong, 1))
        found = promtool("test", "rules", tmp_path / "tests" / "power.test.yml")
        assert "FAILED" in found.stdout + found.stderr, right


def test_the_rules_are_rules() -> None:
    found = promtool("check", "rules", *sorted((ALERTS / "prometheus").glob("*.rules.yml")))
    assert found.returncode == 0, found.stdout + found.stderr
