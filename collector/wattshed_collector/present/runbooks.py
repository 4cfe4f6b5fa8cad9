"""The pages of runbooks: what to do when an alert fires."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

from .boards import framed
from .markdown import rendered


def listing(texts: Mapping[str, str]) -> str:
    """Return the page that lists runbooks; ``texts`` are their Markdown by name."""
    cards = "".join(
        f'<a class="card entry" href="/runbooks/{html.escape(name)}"><h2>{html.escape(name)}</h2>'
        f"<p>{html.escape(_first_words(text))}</p></a>"
        for name, text in sorted(texts.items())
    )
    none = '<p class="note">No runbook is here.</p>'
    return framed(
        "Runbooks",
        '<div class="title"><h1>Runbooks</h1><p>What each alert means, and what to do.</p></div>'
        f'<main class="entries">{cards or none}</main>',
    )


def runbook(name: str, text: str) -> str:
    """Return the page of one runbook."""
    return framed(name, f'<main class="card prose">{rendered(text)}</main>')


def _first_words(text: str) -> str:
    """Return the first paragraph that is no heading, as plain text."""
    for block in re.split(r"\n\s*\n", text.strip()):
        if not block.startswith(("#", "|", "```")):
            return re.sub(r"[*_`]|\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(block.split()))
    return ""
