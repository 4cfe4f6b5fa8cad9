"""Write the files that Grafana and others load, or with --check say which are out of date.

Each maker returns a folder under ``dashboards/`` and its files by name; a file there of the same
kind that no maker returns is out of date as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from wattshed_dashboards import provisioning, render
from wattshed_dashboards.alerts import chart, load, outputs
from wattshed_dashboards.boards import BOARDS

ROOT = Path(__file__).resolve().parent.parent / "dashboards"
CHART = "helm/wattshed"


class Folder(NamedTuple):
    """What a folder is to hold: ``texts`` by file name, and of which ``suffix`` all others go."""

    path: str
    suffix: str
    texts: Mapping[str, str]


Maker = Callable[[], Iterable[Folder]]


def boards() -> list[Folder]:
    """Return dashboards/grafana, a file for each board."""
    return [Folder("grafana", ".json", {f"{b.uid}.json": render.text(b) for b in BOARDS})]


def alerts() -> list[Folder]:
    """Return rules, their tests and the page about them."""
    made = outputs.folders(load())
    return [Folder(path, suffix, texts) for (path, suffix), texts in made.items()]


def provisioned() -> list[Folder]:
    """Return what a Grafana loads at its start, and examples of what only its owner can say."""
    origin = "dashboards/src/wattshed_dashboards/provisioning.py"
    made = {
        "datasources": ("wattshed.yaml", provisioning.datasources()),
        "dashboards": ("wattshed.yaml", provisioning.providers()),
    }
    examples = {
        "contact-points.yaml": provisioning.contact_points(),
        "policies.yaml": provisioning.policies(),
    }
    texts = {name: outputs.document(said, origin) for name, said in examples.items()}
    return [
        *(
            Folder(f"provisioning/{path}", ".yaml", {name: outputs.document(said, origin)})
            for path, (name, said) in made.items()
        ),
        Folder("provisioning/examples", ".yaml", texts),
    ]


def charted() -> list[Folder]:
    """Return what the Helm chart has of the alerts; its boards are the files themselves."""
    catalogue = load()
    values = (ROOT.parent / CHART / "values.yaml").read_text(encoding="utf-8")
    rules = {
        "prometheus.yaml": outputs.document(chart.prometheus_rules(catalogue)),
        "grafana.yaml": outputs.document(chart.grafana_rules(catalogue)),
    }
    return [
        Folder(f"../{CHART}/files/alerts", ".yaml", rules),
        Folder(
            f"../{CHART}", "values.yaml", {"values.yaml": chart.with_defaults(values, catalogue)}
        ),
    ]


MAKERS: tuple[Maker, ...] = (boards, alerts, provisioned, charted)


def stale(root: Path, folders: Iterable[Folder]) -> dict[Path, str | None]:
    """Return each file that differs and what it should have, None where it should not be."""
    found: dict[Path, str | None] = {}
    for folder in folders:
        wanted = {root / folder.path / name: text for name, text in folder.texts.items()}
        present = set((root / folder.path).glob(f"*{folder.suffix}"))
        found |= dict.fromkeys(sorted(present - wanted.keys()))
        found |= {
            path: text
            for path, text in wanted.items()
            if path not in present or path.read_text(encoding="utf-8") != text
        }
    return found


def write(path: Path, text: str | None) -> None:
    """Write a file, or remove it where it should not be."""
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def main(root: Path = ROOT) -> None:
    """Write what differs; with ``--check`` only say so and exit with 1."""
    is_check = "--check" in sys.argv[1:]
    found = stale(root, (folder for maker in MAKERS for folder in maker()))
    for path, text in found.items():
        name = path.relative_to(root.parent)
        done = "written" if text is not None else "removed"
        print(f"{name} {'is out of date, run make docs' if is_check else done}")
        if not is_check:
            write(path, text)
    if found and is_check:
        sys.exit(1)


if __name__ == "__main__":
    main()
