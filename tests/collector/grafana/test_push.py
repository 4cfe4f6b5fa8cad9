"""``wattshed dashboards push|diff|doctor`` against a stand-in for Grafana's HTTP API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.fixtures.grafana import State, standing_in

from wattshed_collector.cli import main
from wattshed_dashboards import provisioning, render
from wattshed_dashboards.alerts import grafana, load
from wattshed_dashboards.boards import BOARDS

UID = provisioning.DATASOURCE_UID
RULES = {group["name"] for group in grafana.rules(load())["groups"]}
Told = tuple[int, str, str]
Run = Callable[..., Told]


@pytest.fixture
def served() -> Iterator[tuple[State, str]]:
    with standing_in() as served:
        yield served


@pytest.fixture
def run(
    served: tuple[State, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Type a command; returns its status, what it printed and what it complained about."""
    monkeypatch.setenv("GRAFANA_URL", served[1])
    monkeypatch.setenv("GRAFANA_TOKEN", "secret")
    monkeypatch.setenv("WATTSHED_GRAFANA_TOKEN", "for-the-collector")

    def run(*arguments: str) -> Told:
        with pytest.raises(SystemExit) as ended:
            main(["dashboards", *arguments])
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return run


@pytest.fixture
def state(served: tuple[State, str]) -> State:
    return served[0]


def states(out: str) -> dict[tuple[str, str], str]:
    return {(change["kind"], change["name"]): change["state"] for change in json.loads(out)}


def test_everything_is_made_and_then_is_as_it_should_be(run: Run, state: State) -> None:
    assert run("push", "--collector", "https://collector.example/watts")[0] == 0
    assert state.boards.keys() == {board.uid for board in BOARDS}
    assert {name for _, name in state.groups} == RULES
    assert set(state.provenance.values()) == {"api"}
    source = state.sources[UID]
    assert source["type"] == "grafana-clickhouse-datasource"
    assert {k: source["jsonData"][k] for k in ("host", "port", "secure", "path")} == {
        "host": "collector.example",
        "port": 443,
        "secure": True,
        "path": "/watts/clickhouse",
    }
    assert state.secrets[UID] == {"password": "for-the-collector"}
    code, out, _ = run("diff", "--collector", "https://collector.example/watts", "--json")
    assert set(states(out).values()) == {"same", "differs"}  # a secret cannot be compared
    assert [name for name, said in states(out).items() if said == "differs"] == [
        ("data source", "wattshed")
    ]
    assert code == 1


def test_only_what_differs_is_sent_again(
    run: Run, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WATTSHED_GRAFANA_TOKEN")
    assert run("push")[0] == 0
    changed = BOARDS[0].uid
    state.boards[changed]["panels"][1]["title"] = "Something else"
    state.requests.clear()
    code, out, _ = run("push")
    assert code == 0
    assert [path for method, path in state.requests if method != "GET"] == ["/api/dashboards/db"]
    assert out.startswith(f"board {changed}: updated\n1 changed, ")
    assert state.boards[changed]["version"] == 2
    assert run("diff")[0] == 0


def test_a_diff_names_what_is_otherwise_and_changes_nothing(run: Run, state: State) -> None:
    run("push")
    name = next(name for _, name in state.groups)
    rule = state.groups[provisioning.FOLDER_UID, name]["rules"][0]
    rule["data"][1]["model"]["conditions"][0]["evaluator"]["params"] = [1]
    del state.boards[BOARDS[1].uid]
    state.requests.clear()
    for command in (("diff",), ("push", "--dry-run")):
        code, out, _ = run(*command)
        assert code == 1
        path = "rules[0].data[1].model.conditions[0].evaluator.params[0]"
        assert f"differs  rules {name}\n         {path}\n" in out
        assert f"missing  board {BOARDS[1].uid}\n" in out
    assert {method for method, _ in state.requests} == {"GET"}


def test_links_and_runbooks_lead_to_the_collector_that_is_named(run: Run, state: State) -> None:
    run("push", "--collector", "http://10.0.0.5:9740", "--editable")
    said = json.dumps([state.boards, [group["rules"] for group in state.groups.values()]])
    assert "http://10.0.0.5:9740/runbooks/" in said
    assert render.COLLECTOR_URL not in said
    assert set(state.provenance.values()) == {""}


def test_another_data_source_is_used_and_left_alone(run: Run, state: State) -> None:
    state.role = "Editor"
    assert run("push", "--datasource", "theirs")[0] == 0
    assert not state.sources
    group = state.groups[provisioning.FOLDER_UID, "wattshed-waste"]
    asked = {q["datasourceUid"] for rule in group["rules"] for q in rule["data"]}
    assert asked == {"theirs", "__expr__"}
    run("push", "--datasource", "theirs", "--no-alerts")


@pytest.mark.parametrize(
    ("what", "value", "complaint"),
    [
        ("token", "other", "refuses the token (401)"),
        ("role", "Viewer", "refuses the token (403)"),
        ("is_starting", True, "upstream is not ready"),
    ],
)
def test_what_is_refused_is_said_with_what_to_do(
    run: Run, state: State, what: str, value: object, complaint: str
) -> None:
    setattr(state, what, value)
    code, _, err = run("push")
    assert code == 1
    assert complaint in err
    assert err.startswith("wattshed: ")


def test_nobody_there(run: Run) -> None:
    code, _, err = run("push", "--grafana-url", "http://127.0.0.1:1")
    assert (code, "cannot be reached" in err) == (1, True)
    code, _, err = run("diff", "--grafana-url", "grafana.example")
    assert (code, "is no http or https URL" in err) == (2, True)


def checks(out: str) -> dict[str, tuple[str, str]]:
    return {check["name"]: (check["state"], check["said"]) for check in json.loads(out)}


def test_a_doctor_finds_nothing_wrong(run: Run) -> None:
    run("push")
    code, out, _ = run("doctor", "--json")
    found = checks(out)
    assert code == 0
    assert {state for state, _ in found.values()} == {"ok"}
    assert found["collector through Grafana"] == ("ok", "12 devices")


@pytest.mark.parametrize(
    ("change", "name", "state", "said"),
    [
        ({"version": "10.4.2"}, "Grafana", "warning", "10.4.2"),
        ({"plugins": []}, "ClickHouse data source plug-in", "failed", "is not installed"),
        ({"sources": {}}, "data source", "failed", f"none has the uid {UID}"),
        (
            {"devices": 0},
            "collector through Grafana",
            "warning",
            "answers, but knows no device yet",
        ),
        ({"devices": "refused"}, "collector through Grafana", "failed", "refused"),
        ({"boards": {}}, "board wattshed-fleet", "failed", "missing"),
        ({"groups": {}}, "rules wattshed-waste", "failed", "missing"),
    ],
)
def test_a_doctor_says_what_is_wrong(
    run: Run, served: tuple[State, str], change: dict[str, Any], name: str, state: str, said: str
) -> None:
    run("push")
    for what, value in change.items():
        setattr(served[0], what, value)
    code, out, _ = run("doctor", "--json")
    assert checks(out)[name] == (state, said)
    assert code == (state == "failed")


def test_a_doctor_without_a_grafana_says_so_and_stops(run: Run) -> None:
    code, out, _ = run("doctor", "--grafana-url", "http://127.0.0.1:1")
    assert code == 1
    assert len(out.splitlines()) == 2
    assert "-> check --grafana-url" in out
