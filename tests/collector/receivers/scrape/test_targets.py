"""Label sets to targets, and which targets there are as sources come, change and go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.config import Action, Job, Relabel
from wattshed_collector.outcomes.owners import Pod
from wattshed_collector.receivers.scrape.fleet import Fleet
from wattshed_collector.receivers.scrape.relabel import Rules
from wattshed_collector.receivers.scrape.schedule import Schedule, phase
from wattshed_collector.receivers.scrape.targets import Target, Unusable, resolve

JOB = Job(name="j", interval_seconds=10.0, timeout_seconds=5.0, params={"x": "1"})


def made(labels: dict[str, str], *rules: Relabel, job: Job = JOB) -> Target:
    target = resolve(labels, job, Rules(rules))
    assert target is not None
    return target


def test_what_a_target_is_when_nothing_is_said_of_it() -> None:
    target = made({"__address__": "h:9100", "__meta_a": "b", "team": "t"})
    assert target.url == "http://h:9100/metrics?x=1"
    assert target.labels == (("instance", "h:9100"), ("job", "j"), ("team", "t"))
    assert (target.host, target.port) == ("h", 9100)
    assert (target.interval_seconds, target.timeout_seconds, target.node) == (10.0, 5.0, "")


def test_labels_say_where_and_how_often() -> None:
    told = {
        "__address__": "[::1]", "__scheme__": "https", "__metrics_path__": "m", "__param_x": "a b",
        "__scrape_interval__": "1m30s", "__scrape_timeout__": "2m", "instance": "i", "node": "n",
    }  # fmt: skip
    target = made(told)
    assert target.url == "https://[::1]/m?x=a+b"
    assert (target.host, target.port) == ("::1", 443)
    assert (target.interval_seconds, target.timeout_seconds) == (90.0, 90.0)
    assert (target.node, dict(target.labels)["instance"]) == ("n", "i")


def test_the_pod_behind_it_is_kept_though_no_rule_makes_labels_of_it() -> None:
    names = {"namespace": "ml", "pod_name": "chat-0", "pod_uid": "u-1", "pod_label_app": "x"}
    told = {f"__meta_kubernetes_{name}": text for name, text in names.items()}
    target = made({"__address__": "h", **told})
    assert target.pod == Pod("ml", "chat-0", "u-1")
    assert dict(target.labels).keys() == {"instance", "job"}
    assert made({"__address__": "h", **told, "__meta_kubernetes_pod_uid": "u-2"}) != target
    assert made({"__address__": "h", "__meta_kubernetes_namespace": "ml"}).pod is None


def test_rules_may_rewrite_the_address_and_the_instance() -> None:
    rules = (
        Relabel(source_labels=("__meta_ip",), target_label="__address__", replacement="$1:1"),
        Relabel(source_labels=("__meta_name",), target_label="instance"),
    )
    target = made({"__address__": "h", "__meta_ip": "10.0.0.1", "__meta_name": "gpu7"}, *rules)
    assert target.address == "10.0.0.1:1"
    assert dict(target.labels)["instance"] == "gpu7"


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"__address__": "h/path"},
        {"__address__": "h:99999"},
        {"__address__": "me:secret@h:1"},
        {"__address__": "h\r\nX: y"},
        {"__address__": "h", "__scheme__": "ftp"},
        {"__address__": "h", "__metrics_path__": "/a b"},
        {"__address__": "h", "__metrics_path__": "/a\r\nX: y"},
        {"__address__": "h", "__scrape_interval__": "soon"},
        {"__address__": "h", "__scrape_interval__": "0s"},
    ],
)
def test_what_makes_no_target(labels: dict[str, str]) -> None:
    with pytest.raises(Unusable):
        resolve(labels, JOB, Rules(()))


SOURCES = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.lists(st.sampled_from(["h:1", "h:2", "drop:3", "/"]))
)


@given(st.lists(SOURCES, max_size=5), st.integers(0, 2))
def test_the_fleet_is_what_its_sources_said_last(
    steps: list[dict[str, list[str]]], limit: int
) -> None:
    drop = Relabel(source_labels=("__address__",), regex="drop.*", action=Action.DROP)
    job = Job(name="j", interval_seconds=1.0, timeout_seconds=1.0, target_limit=limit)
    failures: list[str] = []
    fleet = Fleet(job, Rules([drop]), lambda _, reason, __: failures.append(reason))
    said: dict[str, list[str]] = {}
    there: set[Target] = set()
    for step in steps:
        for source, addresses in step.items():
            came, went = fleet.put(source, [{"__address__": each} for each in addresses])
            said[source] = addresses
            assert not came & there
            assert went <= there
            there = (there - went) | came
            wanted = {each for found in said.values() for each in found if each.startswith("h")}
            assert {t.address for t in there} == (set() if 0 < limit < len(wanted) else wanted)
            assert fleet.dropped == sum(found.count("drop:3") for found in said.values())
            assert ("target_limit" in failures) >= (0 < limit < len(wanted))


@given(st.floats(0.05, 100.0), st.lists(st.floats(0.0, 50.0), min_size=1, max_size=30))
def test_a_member_is_due_once_in_each_interval(interval: float, steps: list[float]) -> None:
    now, epoch = [100.0], 1_700_000_000.0
    schedule: Schedule[str] = Schedule(lambda: now[0], epoch)
    schedule.add("m", "key", interval)
    first = schedule.wait_seconds()
    assert first is not None
    assert 0.0 <= first <= interval + 1e-6
    at = 100.0 + first
    for step in steps:
        now[0] += step
        due = schedule.due()
        assert due == (["m"] if now[0] >= at else [])
        rest = schedule.wait_seconds()
        assert rest is not None
        at = now[0] + rest
        assert rest <= interval * (1 + 1e-9) + 1e-6
        turns = (at + epoch - phase("key", interval)) / interval
        assert abs(turns - round(turns)) * interval < 1e-5  # it never drifts
    schedule.remove("m")
    now[0] += 2 * interval
    assert (schedule.due(), schedule.wait_seconds(), len(schedule)) == ([], None, 0)


def test_a_fleet_is_spread_over_its_interval() -> None:
    phases = [phase(f"http://node-{number}:9741/metrics", 10.0) for number in range(2000)]
    assert all(0 <= each < 10.0 for each in phases)
    by_second = [sum(int(each) == second for each in phases) for second in range(10)]
    assert min(by_second) > 150
    assert max(by_second) < 250
    assert phases[7] == phase("http://node-7:9741/metrics", 10.0)
