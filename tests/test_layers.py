"""Who may import whom, read from the source: ARCHITECTURE's rule."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXPORTER = ROOT / "exporter" / "wattshed_exporter"
COLLECTOR = ROOT / "collector" / "wattshed_collector"
CLIENT = ROOT / "exporter" / "wattshed"
SHARED = {"model", "semconv", "split", "settings", "errors", "trim", "segments", "__version__"}
SHARED |= {"outcome_document"}  # the same document is taken by both
"""What of the exporter's package the collector may use."""
ON_EVERY_NODE = {"prometheus_client"}
"""The only third party that a node agent may load before it knows its configuration."""


def modules(package: Path) -> list[Path]:
    found = sorted(package.rglob("*.py"))
    assert found
    return found


def imported(file: Path, *, top_level: bool = False) -> Iterator[str]:
    """Yield every absolute name that a module imports, relative imports resolved.

    With ``top_level`` leave out what only runs when a function is called, or never does.
    """
    package = (file.parent if file.name == "__init__.py" else file).relative_to(ROOT).parts[1:]
    here = package if file.name == "__init__.py" else package[:-1]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in _statements(tree) if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            module = ".".join((*base, node.module) if node.module else base)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _statements(child)


@pytest.mark.parametrize("file", modules(EXPORTER), ids=lambda f: str(f.relative_to(EXPORTER)))
class TestExporter:
    def test_knows_nothing_of_the_collector(self, file: Path) -> None:
        assert not [name for name in imported(file) if name.startswith("wattshed_collector")]

    def test_loads_no_third_party_that_a_node_does_not_need(self, file: Path) -> None:
        roots = {name.partition(".")[0] for name in imported(file, top_level=True)}
        foreign = roots - sys.stdlib_module_names - {"wattshed_exporter"}
        assert foreign <= ON_EVERY_NODE


@pytest.mark.parametrize("file", modules(CLIENT), ids=lambda f: str(f.relative_to(CLIENT)))
def test_the_client_of_programs_needs_nothing_but_python(file: Path) -> None:
    roots = {name.partition(".")[0] for name in imported(file)}
    assert roots - sys.stdlib_module_names <= {"wattshed"}


@pytest.mark.parametrize("file", modules(COLLECTOR), ids=lambda f: str(f.relative_to(COLLECTOR)))
def test_the_collector_uses_only_the_exporters_nouns_and_rules(file: Path) -> None:
    # What `wattshed bench` pushes are the bytes that an exporter pushes.
    shared = SHARED | {"outputs"} if file.parent.name == "bench" else SHARED
    for name in imported(file):
        if name.partition(".")[0] == "wattshed_exporter":
            assert name.split(".")[1] in shared, name


def test_only_the_composition_root_knows_every_part() -> None:
    """Receivers do not know the API, the store knows neither, normalise knows only the nouns."""
    below = {
        "store": {"receivers", "api", "normalise", "ledger", "app", "cli", "present", "report"},
        "normalise": {"store", "receivers", "api", "ledger", "app", "cli", "present", "report"},
        "outcomes": {"store", "receivers", "api", "ledger", "app", "cli", "present", "report"},
        "receivers": {"api", "ledger", "app", "cli", "present", "report"},
        "api": {"receivers", "ledger", "app", "cli", "normalise"},
        "present": {"receivers", "api", "ledger", "app", "cli", "normalise"},
    }
    for room, strangers in below.items():
        for file in modules(COLLECTOR / room):
            for name in imported(file, top_level=True):
                parts = name.split(".")
                if parts[0] == "wattshed_collector" and len(parts) > 1:
                    assert parts[1] not in strangers, f"{file}: {name}"


def test_there_is_no_drawer_for_everything() -> None:
    names = {f.stem for package in (EXPORTER, COLLECTOR, CLIENT) for f in package.rglob("*")}
    assert not names & {"utils", "util", "common", "helpers", "helper", "misc", "base"}
