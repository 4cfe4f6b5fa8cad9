"""Whatever a page says to type can be typed: every command of ours, target of make and bench."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from wattshed_collector.cli import parser
from wattshed_collector.config import PREFIX
from wattshed_collector.config import Config as Collector
from wattshed_exporter.config import Config as Exporter
from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import load

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    file
    for pattern in ("*.md", "[a-z]*/**/*.md")
    for file in ROOT.glob(pattern)
    if "node_modules" not in file.parts
)
BLOCK = re.compile(r"```(\w*)[^\n]*\n(.*?)```", re.DOTALL)
OURS = re.compile(
    r"(?:^|-- |exec \S+ )((?:\S*/)?(?:wattshed(?:-collector|-exporter)?|make|python) .+)"
)
PARSER = parser()
ONLY_LESS = "the following arguments are required"
"""A sentence may name a command without all that it takes; a block may not."""


def typed(page: Path) -> Iterator[tuple[str, bool]]:
    """Give each command of a page, and whether it stands in a sentence."""
    text = page.read_text(encoding="utf-8")
    for kind, block in BLOCK.findall(text):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            if kind == "console" and line.startswith(("$ ", "# ")):
                yield from ((part, False) for part in parts(line[2:]))
    for span in re.findall(r"`([^`]+)`", BLOCK.sub("", text)):
        yield from ((part, True) for part in parts(" ".join(span.split())))


def parts(line: str) -> Iterator[str]:
    """Give the commands of ours in a line of the shell, one for each of its alternatives."""
    for part in re.split(r" \| | && |; ", re.sub(r" (>|2>|#) .*", "", line)):
        if found := OURS.search(re.sub(r"^(\w+=\S* )+", "", part.strip())):
            choices = [word.split("|") for word in shlex.split(found[1])]
            yield from (shlex.join(words) for words in itertools.product(*choices))


def wrong(command: str, is_named: bool) -> str:
    """Return what is wrong with a command, nothing where it can be typed."""
    program, *words = shlex.split(command)
    if words[-1:] == ["..."]:
        words.pop()
    match Path(program).name:
        case "wattshed":
            return unparsed(words, is_named)
        case "make":
            return unmade([word for word in words if "=" not in word])
        case "python":
            return unmeasured(words)
        case name:
            return unset(name, words)


def unparsed(words: list[str], is_named: bool) -> str:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            PARSER.parse_args(words)
        except SystemExit as ended:
            last = said.getvalue().strip().rpartition("\n")[2]
            return "" if not ended.code or (is_named and ONLY_LESS in last) else last
    return ""


def unmade(targets: list[str]) -> str:
    rules = re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return ", ".join(sorted(set(targets) - set(rules)))


def unmeasured(words: list[str]) -> str:
    name = words[1].replace(".", "/") if words[0] == "-m" else words[0].removesuffix(".py")
    place = ROOT / name
    files = [place.with_suffix(".py")] if place.with_suffix(".py").exists() else place.glob("*.py")
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    # A bench that has a flag for each field of a table names the field alone.
    lacks = [f for f in flags if f'"{f}"' not in text and f"{f[2:]}:".replace("-", "_") not in text]
    return f"{name} {lacks}" if lacks or not text else ""


def unset(program: str, words: list[str]) -> str:
    kind, prefix = (
        (Collector, PREFIX) if program == "wattshed-collector" else (Exporter, "WATTSHED_")
    )
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            load(kind, words, {}, prog=program, prefix=prefix)
        except ConfigError as error:
            files = ("No such file or directory",)
            return "; ".join(said for said in error.problems if not said.endswith(files))
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_whatever_a_page_says_to_type_can_be_typed(page: Path) -> None:
    found = {command: wrong(command, is_named) for command, is_named in set(typed(page))}
    assert {command: said for command, said in found.items() if said} == {}


@pytest.mark.parametrize(
    "command",
    [
        "wattshed energy --nope",
        "wattshed enrgy",
        "wattshed energy --by sute",
        "make nothing",
        "python -m bench.nothing",
        "python -m bench.query --nothing",
        "wattshed-exporter --nothing 1",
        "wattshed-collector --nothing 1",
    ],
)
def test_what_cannot_be_typed_is_found(command: str) -> None:
    assert wrong(command, is_named=True)


def test_commands_are_found_in_blocks_and_sentences(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "`wattshed slo list|check` and\n```console\n$ A=b wattshed energy \\\n    --by team > x\n"
        "$ kubectl exec c -- wattshed backup f | tee\nwattshed said this\n```\n"
    )
    assert sorted(typed(page)) == [
        ("wattshed backup f", False),
        ("wattshed energy --by team", False),
        ("wattshed slo check", True),
        ("wattshed slo list", True),
    ]
