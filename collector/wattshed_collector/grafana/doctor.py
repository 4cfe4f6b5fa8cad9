"""Why a board shows nothing: each thing that has to be so, and what to do where it is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from wattshed_collector.errors import CollectorError, Denied

from .push import steps
from .server import Grafana
from .wanted import Wanted

OLDEST, NEWEST = (11, 6), 13
OLDEST_PLUGIN = (4, 0)
T = TypeVar("T")
GOOD, DOUBTFUL, BAD = "ok", "warning", "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, and what to do (empty where it is good)."""

    name: str
    state: str
    said: str
    advice: str = ""


def examine(grafana: Grafana, wanted: Wanted, *, rules: bool = True) -> Iterator[Check]:
    """Yield the checks in order; after one that makes the rest pointless there is no other."""
    try:
        version = grafana.version()
    except CollectorError as error:
        yield Check("Grafana", BAD, str(error), "check --grafana-url, the network and the token")
        return
    yield _version(version)
    plugin = _asked("ClickHouse data source plug-in", grafana.plugin_version, _plugin)
    yield plugin
    yield from _source(grafana, wanted)
    try:
        for state, _ in steps(grafana, wanted, rules=rules, editable=False):
            if state.kind != "data source":
                yield _content(state.kind, state.name, state.state)
    except CollectorError as error:
        yield Check("boards and rules", BAD, str(error), "give the token the role Editor")


def _asked(name: str, ask: Callable[[], T], judge: Callable[[T], Check]) -> Check:
    try:
        return judge(ask())
    except Denied as error:
        return Check(name, DOUBTFUL, str(error), "a token with the role Admin could tell")
    except CollectorError as error:
        return Check(name, BAD, str(error))


def _version(version: str) -> Check:
    numbers = _numbers(version)
    if not OLDEST <= numbers < (NEWEST + 1,):
        known = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST}"
        return Check("Grafana", DOUBTFUL, version or "unknown", f"the boards are made for {known}")
    return Check("Grafana", GOOD, version)


def _plugin(version: str | None) -> Check:
    name = "ClickHouse data source plug-in"
    if version is None:
        return Check(
            name,
            BAD,
            "is not installed",
            "grafana cli plugins install grafana-clickhouse-datasource",
        )
    if _numbers(version) < OLDEST_PLUGIN:
        return Check(name, BAD, version, "update it: boards want version 4 or newer")
    return Check(name, GOOD, version)


def _source(grafana: Grafana, wanted: Wanted) -> Iterator[Check]:
    uid = wanted.datasource_uid

    def is_there(source: object) -> Check:
        if source is None:
            return Check("data source", BAD, f"none has the uid {uid}", "wattshed dashboards push")
        return Check("data source", GOOD, uid)

    found = _asked("data source", lambda: grafana.datasource(uid), is_there)
    yield found
    if found.state == BAD:
        return

    def answers(devices: int) -> Check:
        if not devices:
            return Check("collector through Grafana", DOUBTFUL, "answers, but knows no device yet")
        return Check("collector through Grafana", GOOD, f"{devices} devices")

    answer = _asked("collector through Grafana", lambda: grafana.devices(uid), answers)
    if answer.state == BAD:
        advice = "Grafana must reach the collector's address, with a token of the role read"
        answer = Check(answer.name, BAD, answer.said, advice)
    yield answer


def _content(kind: str, name: str, state: str) -> Check:
    if state == "same":
        return Check(f"{kind} {name}", GOOD, "as it should be")
    return Check(f"{kind} {name}", BAD, state, "wattshed dashboards push")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
