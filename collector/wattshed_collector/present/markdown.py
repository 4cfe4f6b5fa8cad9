"""Markdown as HTML: runbooks and the text of panels. HTML in it stays text."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt

_NEIGHBOUR = re.compile(r'href="(?:\./)?([A-Za-z0-9_]+)\.md(#[^"]*)?"')


def rendered(text: str) -> str:
    """Return CommonMark with tables as HTML; links to neighbouring files lead to their page."""
    made: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return _NEIGHBOUR.sub(r'href="/runbooks/\1\2"', made)
