"""The pages of boards: their text from here, their answers drawn in the browser, panel by panel.

What a panel says (title, description, where to read on) is in the document and needs no script.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from string import Template
from typing import Any

from wattshed_exporter import __version__

from . import page
from .markdown import rendered

Json = Mapping[str, Any]

WINDOWS = (("6h", "now-6h"), ("24h", "now-24h"), ("7d", "now-7d"), ("30d", "now-30d"))
NO_SCRIPT = (
    '<noscript><p class="banner">The answers are drawn by JavaScript, which is off. What each '
    "panel asks is said below; /v1/boards gives the answers as JSON.</p></noscript>"
)
_SCRIPTS = (
    *("units.js", "grafana_units.js", "figures.js", "dom.js"),
    *("frames.js", "plots.js", "panels.js", "controls.js", "board.js"),
)
_CONTROLS = (
    '<div class="controls"><div id="windows" class="choice" role="group" aria-label="Window">'
    '</div><div id="range"></div><div id="status" role="status"><span class="dot"></span>'
    '<span id="status-text"></span></div></div>'
)


def framed(
    title: str, body: str, *, css: Sequence[str] = ("page.css", "board.css"), script: str = "",
    controls: str = "", config: object = None,
) -> str:  # fmt: skip
    """Return a whole page around ``body``, which is HTML; only ``script`` may run in it."""
    scripts = ""
    if script:
        scripts = (
            f'<script type="application/json" id="config">{page.embedded(config)}</script>'
            f'<script src="{page.PLOTLY_URL}"></script><script>{script}</script>'
        )
    return Template(page.asset("frame.html")).substitute(
        title=html.escape(title),
        css="\n".join(map(page.asset, css)),
        policy=page.policy(bool(script), *([script] if script else [])),
        controls=controls,
        body=body,
        version=__version__,
        scripts=scripts,
    )


def listing(boards: Iterable[Json]) -> str:
    """Return the page that lists the boards by what they answer."""
    cards = "".join(
        f'<a class="card entry" href="/boards/{html.escape(board["uid"])}">'
        f"<h2>{html.escape(board['title'])}</h2><p>{html.escape(board['description'])}</p></a>"
        for board in boards
    )
    none = '<p class="note">No board is here.</p>'
    return framed(
        "Boards",
        '<div class="title"><h1>Boards</h1><p>Each answers one question. Grafana shows the same '
        f'panels of the same SQL.</p></div><main class="entries">{cards or none}</main>',
    )


def board_page(board: Json, boards: Iterable[Json]) -> str:
    """Return the page of a board; ``boards`` are those that it leads to."""
    named = [each for each in board["templating"]["list"] if each["type"] == "query"]
    config = {
        "board": board,
        "boards": [{"uid": each["uid"], "title": each["title"]} for each in boards],
        "variables": [
            {key: each[key] for key in ("name", "label", "multi")} for each in named
        ],
        "windows": WINDOWS,
        "timeout_ms": 70_000,
    }  # fmt: skip
    head = (
        f'<div class="title"><h1>{html.escape(board["title"])}</h1>'
        f"<p>{html.escape(board['description'])}</p></div>{NO_SCRIPT}"
        '<div id="bar"><div id="boards"></div><div id="variables"></div></div>'
    )
    body = f'{head}<main id="board">{"".join(_rows(board["panels"]))}</main>'
    script = page.scripts(_SCRIPTS)
    return framed(board["title"], body, script=script, controls=_CONTROLS, config=config)


def missing(said: str) -> str:
    """Return the page for what is not there."""
    text = f"<p>{html.escape(said)}</p>"
    return framed("Not here", f'<main class="card"><h1>Not here</h1>{text}</main>')


def _rows(panels: Iterable[Json]) -> Iterable[str]:
    """Yield each row with its panels; an open row holds those that follow it."""
    head: Json | None = None
    inner: list[Json] = []
    for panel in (*panels, None):
        if panel is not None and panel["type"] != "row":
            inner.append(panel)
            continue
        if inner:
            yield _row(head, inner)
        head, inner = panel, list(panel["panels"]) if panel is not None else []
    if inner:
        yield _row(head, inner)


def _row(head: Json | None, panels: Iterable[Json]) -> str:
    opened = "" if head is not None and head["collapsed"] else " open"
    title = html.escape(head["title"]) if head is not None else ""
    inner = "".join(map(_panel, panels))
    return (
        f'<details class="row"{opened}><summary><h2>{title}</h2></summary>'
        f'<div class="panels">{inner}</div></details>'
    )


def _panel(panel: Json) -> str:
    place, kind = panel["gridPos"], panel["type"]
    size = "narrow" if place["w"] <= 8 else "wide"
    style = f"--w:{place['w']};--h:{place['h']}"
    text = rendered(panel["options"]["content"]) if kind == "text" else ""
    return (
        f'<article class="card panel {html.escape(kind)} {size}" id="panel-{panel["id"]}" '
        f'style="{style}"><div class="head"><h3>{html.escape(panel["title"])}</h3>'
        f'{_about(panel)}</div><div class="body">{text}</div></article>'
    )


def _about(panel: Json) -> str:
    links = "".join(
        f'<p><a href="{html.escape(_local(link["url"]))}">{html.escape(link["title"])}</a></p>'
        for link in panel["links"]
    )
    sql = "".join(
        f"<pre>{html.escape(target['rawSql'])}</pre>" for target in panel.get("targets", ())
    )
    said = f"<p>{html.escape(panel['description'])}</p>"
    return (
        '<details class="about"><summary aria-label="How this is made" title="How this is made">?'
        f"</summary><div>{said}{links}{sql}</div></details>"
    )


def _local(url: str) -> str:
    """Return where a panel's link leads on this page: we are the collector that it names."""
    return url.replace("${collector}", "")
