"""The example for Alertmanager: its own tool reads it, and every alert goes where it belongs."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import yaml

from wattshed_dashboards import files
from wattshed_dashboards.alerts import Alert, load

EXAMPLE = files.root() / "alerts" / "alertmanager.example.yml"
CONFIG = yaml.safe_load(EXAMPLE.read_text("utf-8"))
CATALOGUE = load()
RECEIVERS = {
    "GPUIdleBurn": "owner",
    "GPUIdleBurnSevere": "page",
    "GPUUnallocatedPowered": "digest",
    "ParkedModel": "digest",
    "LowUtilHighPower": "digest",
    "TrainingStalled": "page-owner",
    "EnergySLOFastBurn": "page-owner",
    "EnergySLOSlowBurn": "owner",
    "PowerBudget": "page",
    "NumericsDrift": "operations",
    "UnattributedEnergyHigh": "operations",
    "MeterDisagreement": "operations",
    "ExporterDown": "page",
    "TelemetryStale": "operations",
    "SamplesDropped": "operations",
    "ClockSkew": "operations",
    "CounterReset": "digest",
    "CollectorDown": "page",
    "LedgerBehind": "operations",
    "DiskFull": "page",
    "DiskFilling": "operations",
    "Watchdog": "deadman",
}
needs_amtool = pytest.mark.skipif(
    not shutil.which("amtool"), reason="needs amtool (Debian package prometheus-alertmanager)"
)


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["amtool", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def labels(alert: Alert) -> list[str]:
    """Return what a firing alert would carry, as amtool takes it."""
    own = {label: f"{label}1" for label in alert.signal.labels}
    told = {"alertname": alert.name, "severity": str(alert.severity), **alert.labels, **own}
    return [f"{name}={value}" for name, value in told.items()]


def routed(*arguments: str) -> str:
    found = amtool("config", "routes", "test", f"--config.file={EXAMPLE}", *arguments)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


@needs_amtool
def test_alertmanager_takes_it() -> None:
    found = amtool("check-config", str(EXAMPLE))
    assert found.returncode == 0, found.stdout + found.stderr


@needs_amtool
def test_every_alert_goes_to_whom_it_concerns() -> None:
    assert {alert.name: routed(*labels(alert)) for alert in CATALOGUE.alerts} == RECEIVERS


@needs_amtool
def test_what_has_no_owner_goes_to_the_team_or_to_operations() -> None:
    told = ("alertname=GPUIdleBurn", "severity=warning", "audience=owner")
    assert routed(*told, "team=blue") == "team"
    assert routed(*told) == "operations"
    assert routed("alertname=TrainingStalled", "severity=critical", "audience=owner") == "page"


def test_a_muted_alert_has_the_labels_that_must_be_equal() -> None:
    known = {alert.name: set(alert.signal.labels) for alert in CATALOGUE.alerts}
    for rule in CONFIG["inhibit_rules"]:
        for side in ("source_matchers", "target_matchers"):
            (matcher,) = rule[side]
            for name in matcher.split('"')[1].split("|") if '"' in matcher else [matcher[12:]]:
                assert set(rule["equal"]) <= known[name], name


def test_groups_are_by_labels_that_alerts_have() -> None:
    assert CONFIG["route"]["group_by"] == ["alertname", "cluster", "team"]
    lengths = [CONFIG["route"][key] for key in ("group_wait", "group_interval", "repeat_interval")]
    assert lengths == ["2m", "10m", "12h"]
