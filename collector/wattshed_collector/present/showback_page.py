"""The showback as one HTML file that holds everything and asks nobody, Plotly's script included."""

from __future__ import annotations

import html
from collections.abc import Mapping
from datetime import UTC, datetime
from string import Template
from typing import Any

from wattshed_exporter import __version__

from . import CLASSES
from .page import asset, embedded, plotly_path, policy, scripts

_SCRIPTS = ("units.js", "figures.js", "dom.js", "tables.js", "showback.js")


def render(document: Mapping[str, Any]) -> str:
    """Return the page of a document of ``showback.build``."""
    script = scripts(_SCRIPTS)
    plotly = plotly_path().read_text(encoding="utf-8")
    team = document["team"]
    name = "All teams" if team is None else team or "No team"
    title = f"{name}, {_when(document['period'])}"
    config = {"version": __version__, "classes": [words._asdict() for words in CLASSES]}
    return Template(asset("showback.html")).substitute(
        title=html.escape(title),
        css=asset("page.css") + asset("showback.css"),
        policy=policy(False, plotly, script),
        config=embedded(config),
        document=embedded(document),
        plotly=f"<script>{plotly}</script>",
        script=script,
    )


def _when(period: Mapping[str, Any]) -> str:
    start = datetime.fromtimestamp(period["start"], UTC)
    return f"{start:%B %Y}" if period["kind"] == "month" else f"week {start:%V of %G}"
