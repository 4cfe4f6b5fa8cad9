"""Every alert has a page that says what to do, and every command named there exists."""

from __future__ import annotations

import re
import shlex
from argparse import _SubParsersAction
from collections.abc import Iterator

import pytest

from wattshed_collector.cli import parser
from wattshed_dashboards import files
from wattshed_dashboards.alerts import Alert, load

RUNBOOKS = files.root() / "runbooks"
CATALOGUE = load()
PARSER = parser()
SECTIONS = [
    "What it means",
    "What it costs",
    "How to check",
    "What to do",
    "How to silence it",
    "Why it may be wrong",
]
BOARDS = ["fleet", "waste", "workloads", "outcomes", "models", "placement", "lifecycle"]
BOARDS += ["node", "stack"]
of_each = pytest.mark.parametrize("alert", CATALOGUE.alerts, ids=lambda alert: alert.name)


def page(alert: Alert) -> str:
    return (RUNBOOKS / f"{alert.name}.md").read_text("utf-8")


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each ``wattshed`` in the blocks of a page."""
    for block in re.findall(r"```console\n(.*?)```", text, re.S):
        for line in re.findall(r"^\$ wattshed (.*)$", block, re.M):
            yield shlex.split(line)


def subcommands() -> set[str]:
    """Return every command that the parser knows, such as ``slo check``."""
    found: set[str] = set()
    waiting = [("", PARSER)]
    while waiting:
        path, known = waiting.pop()
        for action in known._actions:
            if isinstance(action, _SubParsersAction):
                waiting += [(f"{path} {name}".strip(), sub) for name, sub in action.choices.items()]
                found |= {f"{path} {name}".strip() for name in action.choices}
    return found


def test_there_is_a_page_for_each_alert_and_no_other() -> None:
    names = {path.stem for path in RUNBOOKS.glob("*.md")}
    assert names == {alert.name for alert in CATALOGUE.alerts}


@of_each
def test_a_page_says_all_that_must_be_known_at_night(alert: Alert) -> None:
    text = page(alert)
    assert text.startswith(f"# {alert.name}\n")
    assert re.findall(r"^## (.*)$", text, re.M) == SECTIONS
    for section in re.split(r"^## .*$", text, flags=re.M)[1:]:
        assert section.strip()


@of_each
def test_every_command_of_a_page_can_be_typed(alert: Alert) -> None:
    found = list(commands(page(alert)))
    assert found
    for arguments in found:
        PARSER.parse_args(arguments)


def test_every_command_that_a_sentence_names_exists() -> None:
    known = subcommands()
    for alert in CATALOGUE.alerts:
        for said in re.findall(r"`wattshed ([^`]*)`", page(alert)):
            assert " ".join(shlex.split(said)[:2]) in known or said.split()[0] in known, said


@of_each
def test_a_page_leads_to_its_board(alert: Alert) -> None:
    links = set(re.findall(r"\]\(/boards/([a-z-]+)\)", page(alert)))
    assert links <= {f"wattshed-{name}" for name in BOARDS}
    assert alert.board in links or alert.name == "Watchdog"
