"""The chart's rules are those that the compiler makes, whatever a site wants otherwise.

It is said twice, as values of the chart and as ``--set`` of ``wattshed alerts compile``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import HelmError
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helm import crds
from tests.helm.chart import one, render

from wattshed_collector.cli.alerts import COMPILERS, overrides
from wattshed_dashboards.alerts import Severity, chart, expression, length, load, outputs, promtool
from wattshed_dashboards.alerts.wording import COLLECTOR_URL
from wattshed_exporter.errors import ConfigError

Json = dict[str, Any]
URL = "https://watts.example.org"
NAMES = [alert.name for alert in load().alerts]
KEYS = {"fireAbove": "fire_above", "clearBelow": "clear_below", "keepFiringFor": "keep_firing_for"}
NUMBER = st.floats(1e-6, 1e15) | st.integers(1, 10**9)
LENGTH = st.tuples(st.integers(0, 90), st.sampled_from("smhd")).map(lambda t: f"{t[0]}{t[1]}")
LABELS = st.dictionaries(
    st.sampled_from(["audience", "team", "tier"]),
    st.from_regex(r"[A-Za-z0-9_-]{1,9}", fullmatch=True),
)
needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="needs promtool (Debian package prometheus)"
)


@st.composite
def wishes(draw: st.DrawFn) -> Json:
    """What a site may want of one alert, as values of the chart."""
    clear, fire = sorted((draw(NUMBER), draw(NUMBER)))
    wanted: Json = {"fireAbove": fire, "clearBelow": draw(st.sampled_from([clear, fire]))}
    others: Json = {
        "for": LENGTH,
        "keepFiringFor": LENGTH,
        "severity": st.sampled_from(list(map(str, Severity))),
        "labels": LABELS,
        "enabled": st.booleans(),
    }
    kept = draw(st.sets(st.sampled_from(sorted(others))))
    return wanted | {key: draw(others[key]) for key in sorted(kept)}


def compiled(rules: Json, form: str = "prometheusrule", url: str = URL) -> Json:
    """Return what the command prints for the same wishes."""
    texts = [
        f"{name}.{KEYS.get(key, key)}={_said(value)}"
        for name, wanted in rules.items()
        for key, value in wanted.items()
    ]
    return COMPILERS[form](load(overrides=overrides(texts)), url, 60)


def _said(value: Any) -> str:
    return expression.number(value) if isinstance(value, float) else json.dumps(value)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Numbers as Go writes and reads them, 1e-06 among them."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)


def rendered(rules: Json, url: str = URL, **more: Any) -> Json:
    """Return the spec of the PrometheusRule, which its CRD takes."""
    return both(rules, url, **more)[0]


def both(rules: Json, url: str = URL, **more: Any) -> tuple[Json, Json]:
    """Return the spec of the PrometheusRule and the provisioning file of Grafana's rules."""
    uid = more.pop("uid", "wattshed-clickhouse")
    alerts = {"enabled": True, "url": url, "rules": rules, **more}
    grafana = {"alerts": {"enabled": True}, "datasource": {"uid": uid}}
    off = {"enabled": False}  # what takes most of the time
    objects = render({"alerts": alerts, "grafana": grafana, "exporter": off, "collector": off})
    rule = one(objects, "PrometheusRule", "w-wattshed-alerts")
    crds.check(rule)
    config = one(objects, "ConfigMap", "w-wattshed-grafana-alerts")
    assert config["metadata"]["labels"]["grafana_alert"] == "1"
    return dict(rule["spec"]), dict(yaml.load(config["data"]["wattshed-rules.yaml"], _Loader))


def in_one_unit(spec: Json) -> Json:
    """Write lengths as the compiler does; a site may say 90m or 5400s."""
    for group in spec["groups"]:
        for rule in group["rules"]:
            for key in {"for", "keep_firing_for", "keepFiringFor"} & rule.keys():
                rule[key] = length.text(length.seconds(rule[key]))
    return spec


@settings(max_examples=8, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), wishes(), max_size=5))
def test_both_engines_are_given_what_the_compiler_makes(rules: Json) -> None:
    prometheus, grafana = both(rules)
    assert in_one_unit(prometheus) == compiled(rules)["spec"]
    assert in_one_unit(grafana) == compiled(rules, "grafana")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"fireAbove": 30}, "is above fire"),
        ({"clearBelow": 0}, "it would never clear"),
        ({"severity": "loud"}, "must be one of"),
        ({"for": "1h30m"}, "for"),
        ({"labels": {"to": "$x"}}, "labels"),
        ({"labels": {"to-whom": "x"}}, "labels"),
        ({"labels": {"severity": "x"}}, "labels"),
        ({"fireAbove": "80"}, "number"),
        ({"enabled": 1}, "enabled"),
    ],
)
def test_what_the_compiler_refuses_the_chart_refuses(wanted: Json, said: str) -> None:
    for make in (rendered, compiled):
        with pytest.raises((HelmError, ConfigError)) as refused:
            make({"GPUIdleBurn": wanted})
        assert said in str(refused.value).lower(), make


def test_an_alert_or_a_setting_that_there_is_not_is_refused() -> None:
    for rules in ({"GPUIdleBurns": {"fireAbove": 80}}, {"GPUIdleBurn": {"fire_above": 80}}):
        with pytest.raises(HelmError, match="additional properties"):
            rendered(rules)


def test_of_no_alert_no_group_is_left() -> None:
    assert rendered({name: {"enabled": False} for name in NAMES}) == {"groups": []}


def test_a_site_has_labels_annotations_and_groups_of_its_own() -> None:
    own = {
        "name": "own",
        "rules": [{"alert": "Own", "expr": "up == 0", "labels": {"a": "{{ x }}"}}],
    }
    spec = rendered(
        {"GPUIdleBurn": {"labels": {"team": "blue"}}},
        additionalLabels={"release": "monitoring"},
        additionalRuleLabels={"team": "red", "source": "chart"},
        additionalRuleAnnotations={"channel": "power", "runbook_url": "https://wiki.example.org"},
        additionalGroups=[own],
        interval="30s",
    )
    assert spec["groups"][-1] == own
    assert spec["groups"][0]["interval"] == "30s"
    first, second = spec["groups"][0]["rules"][:2]
    assert first["labels"]["team"] == "blue"
    assert (second["labels"]["team"], second["labels"]["source"]) == ("red", "chart")
    assert first["annotations"]["channel"] == "power"
    assert first["annotations"]["runbook_url"] == "https://wiki.example.org"


def test_links_lead_to_the_collector_or_to_grafana() -> None:
    objects = render({"alerts": {"enabled": True}})
    group = one(objects, "PrometheusRule", "w-wattshed-alerts")["spec"]["groups"][0]
    links = group["rules"][0]["annotations"]
    service = "http://w-wattshed-collector.energy.svc:9740"
    assert links["runbook_url"] == f"{service}/runbooks/GPUIdleBurn"
    assert links["dashboard_url"].startswith(f"{service}/boards/wattshed-waste?")
    objects = render({"alerts": {"enabled": True}, "grafana": {"url": "https://g.example.org/"}})
    group = one(objects, "PrometheusRule", "w-wattshed-alerts")["spec"]["groups"][0]
    links = group["rules"][0]["annotations"]
    assert links["runbook_url"] == f"{service}/runbooks/GPUIdleBurn"
    assert links["dashboard_url"].startswith("https://g.example.org/d/wattshed-waste?{{ with")


def test_rules_of_grafana_ask_the_data_source_that_there_is() -> None:
    text = json.dumps(both({}, uid="mine")[1])
    assert "wattshed-clickhouse" not in text
    assert text.count('"datasourceUid": "mine"') == json.dumps(compiled({}, "grafana")).count(
        '"datasourceUid": "wattshed-clickhouse"'
    )


def test_grafana_operator_is_given_the_rules_that_the_file_has() -> None:
    rules = {"GPUIdleBurn": {"keepFiringFor": "2d", "for": "1d"}, "PowerBudget": {"enabled": False}}
    alerts = {"enabled": True, "operator": {"enabled": True}}
    objects = render({"alerts": {"url": URL, "rules": rules}, "grafana": {"alerts": alerts}})
    made = {o["spec"]["name"]: o for o in objects if o["kind"] == "GrafanaAlertRuleGroup"}
    wanted = {group["name"]: group for group in compiled(rules, "grafana")["groups"]}
    assert made.keys() == wanted.keys()
    assert "wattshed-power" not in made
    folder = one(objects, "GrafanaFolder", "w-wattshed-folder")
    for name, group in made.items():
        crds.check(group)
        assert group["spec"]["folderRef"] == folder["metadata"]["name"]
        for rule, like in zip(group["spec"]["rules"], wanted[name]["rules"], strict=True):
            days = like["keepFiringFor"] == "2d"
            assert rule == {**like, **({"keepFiringFor": "48h"} if days else {})}


def test_the_block_of_alerts_in_values_is_found_once() -> None:
    with pytest.raises(ValueError, match="no place for the alerts"):
        chart.with_defaults("alerts:\n  rules: {}\n", load())


@needs_promtool
def test_what_a_site_wants_fires_holds_and_clears_by_promtool(tmp_path: Path) -> None:
    rules: Json = {
        "EnergySLOFastBurn": {"enabled": False},
        "EnergySLOSlowBurn": {"for": "3m", "labels": {"audience": "team"}},
        "PowerBudget": {"fireAbove": 1.25, "clearBelow": 1, "keepFiringFor": "0s"},
    }
    groups = {g["name"]: g for g in rendered(rules, COLLECTOR_URL)["groups"]}
    for path, content in (
        *((f"{name}.rules.yml", {"groups": [group]}) for name, group in groups.items()),
        *_tests(rules),
    ):
        (tmp_path / path).write_text(outputs.text(content), encoding="utf-8")
    _promtool("check", "rules", *sorted(tmp_path.glob("*.rules.yml")))
    _promtool("test", "rules", *sorted(tmp_path.glob("*.test.yml")))


def _tests(rules: Json) -> Iterator[tuple[str, Json]]:
    """Yield what the compiler expects of the groups that a site has changed; others take long."""
    catalogue = load(overrides=_as_overrides(rules))
    for group, alerts in catalogue.groups().items():
        if any(alert.name in rules for alert in alerts):
            yield f"{group}.test.yml", promtool.tests(alerts, f"wattshed-{group}.rules.yml")


def _as_overrides(rules: Json) -> Json:
    return {
        name: {KEYS.get(key, key): value for key, value in wanted.items()}
        for name, wanted in rules.items()
    }


def _promtool(*arguments: str | Path) -> None:
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
