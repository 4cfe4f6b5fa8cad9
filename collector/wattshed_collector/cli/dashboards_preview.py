"""``wattshed dashboards preview``: pictures of boards as Grafana would show them."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattshed_collector.api.window import range_ms
from wattshed_collector.boards import Boards, chosen_of, panels_of
from wattshed_collector.errors import InvalidInput
from wattshed_collector.pictures import front_end
from wattshed_collector.pictures.answers import FromCollector, FromStore, Scene, Source, answers
from wattshed_dashboards import files

from . import answers as places
from . import bars

Subparsers = argparse._SubParsersAction
DEFAULT_WIDTH = 1600
EXIT_PROBLEMS = 1
EXAMPLES = """examples:
  wattshed dashboards preview --out pictures                  every board
  wattshed dashboards preview wattshed-waste --from now-7d --out pictures --theme light
  wattshed dashboards preview wattshed-node --var node=gpu-01 --url http://collector:9740 --out .

Writes BOARD.png and BOARD.html for each board, drawn by the front-end packages that Grafana
publishes: a checkout, Node.js, `npm ci --prefix dashboards/preview` and Chromium are needed.
exit status: 0 all is drawn, 1 a panel is not (it is named), 2 wrong usage."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a board is drawn: ``width`` in CSS pixels, each ``scale`` of the picture's."""

    theme: str
    width: int
    scale: float


@dataclass(frozen=True, slots=True)
class Aim:
    """Where pages go and what they show."""

    folder: Path
    chosen: dict[str, Sequence[str]]
    look: Look


def register(parts: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the command."""
    command = parts.add_parser(
        "preview",
        help="draw boards with Grafana's front-end packages, as PNG and HTML",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("boards", nargs="*", metavar="BOARD", help="uids (default: all boards)")
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write")
    command.add_argument(
        "--from",
        dest="begin",
        default="",
        metavar="TIME",
        help="begin as Grafana writes it: now-6h, or an instant (default: the board's own)",
    )
    command.add_argument("--to", dest="end", default="now", metavar="TIME", help="end (now)")
    command.add_argument(
        "--var",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a variable, such as team=research; may be repeated (default: everything)",
    )
    command.add_argument("--theme", choices=("dark", "light"), default="dark")
    command.add_argument(
        "--width", type=int, default=DEFAULT_WIDTH, metavar="PX", help="default: %(default)s"
    )
    command.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="S",
        help="of the picture: 0.25 to 4",
    )
    only = command.add_mutually_exclusive_group()
    only.add_argument("--html", action="store_true", help="only pages: needs no Chromium")
    only.add_argument("--png", action="store_true", help="only pictures")
    places.add_place(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Draw; return 1 where a panel could not be drawn."""
    look = _look(arguments)
    chosen = _chosen(arguments.var)
    chromium = "" if arguments.html else _chromium()
    drawing = front_end.FrontEnd(files.root() / "preview")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wattshed-boards-") as passing:
        folder = Path(passing) if arguments.png else arguments.out
        drawing.put(folder)
        with _source(arguments) as source:
            pages = _pages(arguments, source, Aim(folder, chosen, look))
        problems = asyncio.run(_draw(chromium, pages, arguments.out, look)) if chromium else []
    for problem in problems:
        print(f"wattshed: {problem}", file=sys.stderr)
    print(f"wrote {len(pages)} boards to {arguments.out}", file=sys.stderr)
    return EXIT_PROBLEMS if problems else 0


def _pages(arguments: argparse.Namespace, source: Source, aim: Aim) -> list[Path]:
    """Write a page for each board, with what its panels answer."""
    now = time.time()
    boards = [source.document(uid) for uid in arguments.boards or source.uids()]
    scenes = [
        Scene(*range_ms(arguments.begin or board["time"]["from"], arguments.end, now), aim.chosen)
        for board in boards
    ]
    total = sum(bool(panel.get("targets")) for board in boards for panel in panels_of(board))
    written, done = [], 0
    with bars.counted("asking panels") as progressed:

        def told() -> None:
            nonlocal done
            done += 1
            progressed(done, total)

        for board, scene in zip(boards, scenes, strict=True):
            content = _content(board, scene, aim.look) | {
                "answers": answers(source, board, scene, told)
            }
            file = aim.folder / f"{board['uid']}.html"
            file.write_text(front_end.page(board["title"], content), encoding="utf-8")
            written.append(file)
    return written


def _content(board: dict[str, Any], scene: Scene, look: Look) -> dict[str, Any]:
    names = [each["name"] for each in board["templating"]["list"] if each["type"] == "query"]
    return {
        "board": board,
        "fromMs": scene.from_ms,
        "toMs": scene.to_ms,
        "chosen": {name: list(scene.chosen.get(name, ("All",))) for name in names},
        "theme": look.theme,
        "width": look.width,
    }


def _chromium() -> str:
    from wattshed_collector.pictures import browser

    return browser.program()


async def _draw(chromium: str, pages: list[Path], out: Path, look: Look) -> list[str]:
    """Write a picture of each page; return what could not be drawn."""
    from wattshed_collector.pictures import browser

    problems = []
    # As root Chromium runs only without its sandbox; it opens nothing but our own pages.
    async with browser.running(chromium, is_sandboxed=os.geteuid() != 0) as tab:
        with bars.counted("drawing boards") as progressed:
            for number, page in enumerate(pages, 1):
                png, said = await tab.picture(page.absolute().as_uri(), look.width, look.scale)
                await asyncio.to_thread((out / f"{page.stem}.png").write_bytes, png)
                problems += [f"{page.stem}: {problem}" for problem in said]
                progressed(number, len(pages))
    return problems


@contextmanager
def _source(arguments: argparse.Namespace) -> Iterator[Source]:
    if remote := places.connect(arguments):
        yield FromCollector(remote.ask)
        return
    with places.existing(arguments.data) as (store, client):
        if not store.is_server:  # there, the collectors that share it keep the ledger
            with places.computing(store, client) as ledger:
                ledger.run()
        from wattshed_dashboards.boards import BOARDS

        yield FromStore(client, Boards(BOARDS))


def _chosen(said: list[str]) -> dict[str, Sequence[str]]:
    """Raises InvalidInput where one is no NAME=VALUE."""
    pairs = [pair.partition("=") for pair in said]
    wrong = [name for name, equals, _ in pairs if not (name and equals)]
    if wrong:
        raise InvalidInput(f"--var {wrong[0]}: write NAME=VALUE, such as team=research", "usage")
    return dict(chosen_of((f"var-{name}", value) for name, _, value in pairs))


def _look(arguments: argparse.Namespace) -> Look:
    if not 400 <= arguments.width <= 4000:
        raise InvalidInput(f"--width {arguments.width}: from 400 to 4000 pixels", "usage")
    if not 0.25 <= arguments.scale <= 4:
        raise InvalidInput(f"--scale {arguments.scale:g}: from 0.25 to 4", "usage")
    return Look(arguments.theme, arguments.width, arguments.scale)
