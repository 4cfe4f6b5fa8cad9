"""Write the generated parts of the documentation, or with --check say which are out of date.

The tables of metrics and options come from the same declarations that the programs run on, that of
supported meters from the one that the tests are held to.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from wattshed_collector import alert_watch, openapi_markdown, served, slo_metrics, telemetry
from wattshed_collector import config as collector
from wattshed_collector.outcomes import look
from wattshed_collector.outcomes.engines import SERVERS
from wattshed_dashboards.boards import BOARDS
from wattshed_dashboards.model import Panel
from wattshed_exporter import config as exporter
from wattshed_exporter import semconv, settings

ROOT = Path(__file__).resolve().parent.parent
TESTED = {
    "recorded": "a recorded page, and pages written from the documentation",
    "documentation": "pages written from the documentation, not recorded",
}
HEAD = ("| Prometheus | type | meaning | labels |", "|---|---|---|---|")
BEGIN, END = "<!-- generated: {} -->", "<!-- end of generated: {} -->"


def metrics() -> str:
    """Return docs/METRICS.md."""
    lines = [
        "# Metrics",
        "",
        "Written by `make docs` from `wattshed_exporter/semconv` and",
        "`wattshed_collector/telemetry.py` and `slo_metrics.py`, and of signals from",
        "`dashboards/alerts/alerts.yaml`; edit those.",
        "",
        "## Exporter",
        "",
        "| Prometheus | OTLP | unit | type | meaning | labels |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{m.prometheus}` | {_code(m.otel)} | {m.unit} | {m.type.value} | {m.help} "
        f"| {', '.join(m.labels)} |"
        for m in semconv.ALL_METRICS
    ]
    for title, table in (
        ("Device attributes", semconv.DEVICE_ATTRIBUTES),
        ("Workload attributes", semconv.WORKLOAD_ATTRIBUTES),
    ):
        lines += ["", f"### {title}", "", "| OTLP | label | meaning |", "|---|---|---|"]
        lines += [f"| `{a.otel}` | `{a.label}` | {a.help} |" for a in table]
    lines += [
        "",
        "## Collector",
        "",
        *HEAD,
    ]
    for kind, table_ in (
        ("counter", (*telemetry.COUNTERS, *telemetry.WATCHED_COUNTERS)),
        ("gauge", (*telemetry.GAUGES, *telemetry.WATCHED_GAUGES)),
        ("histogram", telemetry.HISTOGRAMS),
    ):
        lines += [
            f"| `{telemetry.PREFIX}{h.name}` | {kind} | {h.help} | {', '.join(h.labels)} |"
            for h in table_
        ]
    lines += ["", "### Signals of alerts", "", *HEAD]
    lines += [
        f"| `{h.name}` | gauge | {h.help} | {', '.join(h.labels)} |" for h in alert_watch.gauges()
    ]
    lines += ["", "### Energy SLOs", "", *HEAD]
    for kind, table_ in (("gauge", slo_metrics.GAUGES), ("counter", slo_metrics.COUNTERS)):
        lines += [f"| `{h.name}` | {kind} | {h.help} | {', '.join(h.labels)} |" for h in table_]
    return "\n".join(lines) + "\n"


def configuration() -> str:
    """Return the tables of options for the README."""
    return (
        "\n**Exporter** (`wattshed-exporter`)\n\n"
        + settings.documentation(exporter.Config, "WATTSHED").strip()
        + "\n\n**Collector** (`wattshed-collector`)\n\n"
        + settings.documentation(collector.Config, collector.PREFIX).strip()
        + "\n"
    )


def supported() -> str:
    """Return docs/SUPPORTED.md, whose rows are held by the tests beside their declaration."""
    sys.path.append(str(ROOT))
    from tests.fixtures.supported import markdown

    return markdown()


def outcome_rules() -> str:
    """Return the tables of docs/OUTCOMES.md."""
    lines = [""]
    for server in look.rule_records(SERVERS):
        recognised = "" if server["auto"] else " (only where a job names it)"
        lines += [f"### {server['title']}: `{server['name']}`{recognised}", ""]
        lines += ["| outcome | counter |", "|---|---|"]
        lines += [
            f"| {rule['kind']} | {'; else '.join(map(_way, rule['from']))} |"
            for rule in server["rules"]
        ]
        models = ", ".join(f"`{label}`" for label in server["model_labels"])
        names = ", ".join(f"`{prefix}`" for prefix in server["prefixes"])
        lines += ["", f"Names begin with {names}; the model is the label {models}."]
        lines += [f"Tested on: {TESTED[server['tested']]}. Names from {server['facts']}.", ""]
        lines += [f"* {note}" for note in server["notes"]] + [""]
    return "\n".join(lines)


def boards() -> str:
    """Return docs/BOARDS.md: what each board answers and what each panel says."""
    lines = [
        "# Boards",
        "",
        "Written by `make docs` from `dashboards/src/wattshed_dashboards/boards`; edit those.",
        "The collector shows them at `/boards`, Grafana from `dashboards/grafana/*.json`: the same",
        "panels of the same SQL. `GET /v1/boards/{uid}/panels/{id}` gives what a panel answers as",
        "JSON.",
        "",
        "| board | question | looks back |",
        "|---|---|---|",
        *(f"| [{b.title}](#{_anchor(b.title)}) | {b.question} | {b.window} |" for b in BOARDS),
    ]
    for board in BOARDS:
        lines += ["", f"## {board.title}", "", board.question]
        if board.variables:
            lines[-1] += f" It can be narrowed by {', '.join(board.variables)}."
        for row in board.rows:
            lines += ["", f"### {board.title}: {row.title}", ""]
            lines += [_said(panel) for panel in row.panels]
    return "\n".join(lines) + "\n"


def _said(panel: Panel) -> str:
    unit = f", {panel.unit}" if panel.unit else ""
    runbook = f" Runbook: [{panel.runbook}](../dashboards/runbooks/{panel.runbook}.md)."
    said = " ".join(panel.description.split())
    return f"* **{panel.title}** ({panel.kind}{unit}): {said}{runbook if panel.runbook else ''}"


def _anchor(title: str) -> str:
    """Return how a heading is linked to: without what is no letter, figure, space or hyphen."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _way(way: Mapping[str, str]) -> str:
    minus = f" minus `{way['minus']}`" if "minus" in way else ""
    caveat = f" (**{way['caveat']}**)" if "caveat" in way else ""
    return f"`{way['counter']}`{minus}{caveat}".replace("|", "\\|")


def generated() -> dict[Path, str]:
    """Return every generated file with the text that it should have."""
    readme, outcomes = ROOT / "README.md", ROOT / "docs" / "OUTCOMES.md"
    return {
        outcomes: _between(outcomes.read_text(encoding="utf-8"), "rules", outcome_rules()),
        ROOT / "docs" / "API.md": openapi_markdown.markdown(served.OPERATIONS),
        ROOT / "docs" / "BOARDS.md": boards(),
        ROOT / "docs" / "METRICS.md": metrics(),
        ROOT / "docs" / "SUPPORTED.md": supported(),
        readme: _between(readme.read_text(encoding="utf-8"), "configuration", configuration()),
    }


def main() -> None:
    """Write what differs; with ``--check`` only say so and exit with 1."""
    check = "--check" in sys.argv[1:]
    stale = [
        (path, text)
        for path, text in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        print(f"{path.relative_to(ROOT)} {'is out of date, run make docs' if check else 'written'}")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale and check:
        sys.exit(1)


def _between(text: str, name: str, body: str) -> str:
    begin, end = BEGIN.format(name), END.format(name)
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        sys.exit(f"a page lacks the marks {begin} and {end}")
    return f"{head}{begin}\n{body}{end}{tail}"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    main()
