"""The documentation says what the code says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wattshed_collector.cli import parser
from wattshed_exporter import __version__

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    file
    for pattern in ("*.md", "[a-z]*/**/*.md")
    for file in ROOT.glob(pattern)
    if "node_modules" not in file.parts
)


@pytest.mark.parametrize(
    "script", ["generate_docs.py", "generate_dashboards.py", "generate_chart.py"]
)
def test_the_generated_parts_are_up_to_date(script: str) -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def test_the_newest_change_is_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changelog, re.MULTILINE)[0] == __version__


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    # What begins with a slash is the collector's, which serves runbooks and boards.
    local = [target for target in targets if "://" not in target and target[0] != "/"]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert missing == []


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    choices = parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    assert choices is not None
    for command in choices:
        assert f"make {command}" in text or f"wattshed {command}" in text, command


def test_nothing_pins_an_address() -> None:
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = [line for line in constraints.splitlines() if not line.startswith("#")]
    assert pinned
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line) for line in pinned)
    lock = json.loads((ROOT / "dashboards/preview/package-lock.json").read_text(encoding="utf-8"))
    assert len(lock["packages"]) > 1
    assert not any("resolved" in package for package in lock["packages"].values())


def test_every_threat_names_tests_that_are_there() -> None:
    text = (ROOT / "THREAT_MODEL.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([STRIDE]) \|.*\| ([^|]*) \|$", text, re.MULTILINE)
    assert {letter for letter, _ in rows} == set("STRIDE")
    for _, told in rows:
        named = re.findall(r"`([^`]+)`", told)
        assert named, told
        for path in named:
            assert (ROOT / "tests" / "collector" / path).exists(), path
